# ruff: noqa: F811 - a fixture that is imported is named by the tests
import json
from pathlib import Path

import pytest
import yaml

from sluice.core.workspace import Workspace
from unit.cli.published import here, run  # noqa: F401 - a fixture


def test_a_check_tells_of_rows_that_a_gate_needs(here: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    gates = Path(__file__).parents[4] / "config" / "gates.yaml"
    (here.config / "gates.yaml").write_text(gates.read_text())
    (here.root / "pipelines").mkdir(exist_ok=True)
    (here.root / "pipelines" / "params.yaml").write_text("evaluate: {limit: 0}\n")
    status, out, err = run(capsys, "check", "--out", "report.json")
    assert (status, out) == (1, "")
    assert "config/gates.yaml: comparison.metrics.decline_accuracy needs 20 rows without answers" in err
    assert "config/gates.yaml: gate recall_at_5_floor needs 20 rows that name the documents" in err
    assert "-> add such rows to data/eval.jsonl" in err
    assert not (here.root / "report.json").exists(), "what did not pass leaves no report"
    document = yaml.safe_load(gates.read_text())
    for gate in document["gates"]:
        gate["min_samples"] = 1
    for metric in document["comparison"]["metrics"].values():
        metric["decides"] = "when_asked"
    (here.config / "gates.yaml").write_text(yaml.safe_dump(document))
    status, _, err = run(capsys, "check", "--out", "report.json")
    assert (status, (here.root / "report.json").exists()) == (0, True), err


@pytest.mark.usefixtures("here")
def test_publishing_is_one_json_and_the_rest_goes_with_it(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "push")
    assert (status, json.loads(out)["sent"]) == (0, 0)
    assert json.loads(run(capsys, "verify")[1])["objects"] == json.loads(out)["objects"]
