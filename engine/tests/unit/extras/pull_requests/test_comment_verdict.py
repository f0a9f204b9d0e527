"""What the hidden line says is what comparison.json says, for the commit that was compared, and nothing else."""

import json
from pathlib import Path
from typing import Any

import pytest

from sluice.evaluation.comparison import compare
from sluice.evaluation.comparison_result import Comparison
from sluice.evaluation.reports.comparison_page import JSON, write_reports
from sluice.evaluation.reports.phrasing import ComparedVersion
from sluice.extras.pull_requests.comment_verdict import comparison_text, find_verdict, verdict_line
from unit.evaluation.asking import METRICS, ask
from unit.evaluation.reports.conftest import HOSTILE, POLICY

HEAD = "4" * 40


def written(comparison: Comparison, folder: Path) -> dict[str, Any]:
    write_reports(folder, comparison, ComparedVersion("base", "main"), ComparedVersion("head", "change"))
    document: dict[str, Any] = json.loads((folder / JSON).read_text())
    return document


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    event = tmp_path / "event.json"
    event.write_text(json.dumps({"pull_request": {"number": 7, "head": {"sha": HEAD}}}))
    return {"GITHUB_EVENT_PATH": str(event)}


def test_a_worse_comparison_names_its_metrics(environment: dict[str, str], tmp_path: Path) -> None:
    document = written(compare(ask(seed=1), ask(seed=2, spoil="invents"), METRICS, POLICY), tmp_path)
    said = find_verdict([comparison_text(tmp_path / "comment.md", "", environment)], HEAD)
    assert said is not None
    assert (said.verdict, said.passed) == ("worse", False)
    wanted = [one for one in document["metrics"] if one["verdict"] == "worse" and one["decides"] != "never"]
    assert [(one.name, one.base, one.head) for one in said.worse] == [
        (one["name"], one["base"], one["head"]) for one in wanted
    ]
    assert "decline_accuracy" in [one.name for one in said.worse]
    assert str(said.worse[0]).startswith(f"{said.worse[0].name} ")
    assert " -> " in str(said.worse[0])


def test_what_was_said_of_another_commit_is_not_said_of_this_one(environment: dict[str, str], tmp_path: Path) -> None:
    text = comparison_text(tmp_path / "comment.md", "", environment)
    assert find_verdict([text], "5" * 40) is None
    found = find_verdict(["talk", text], HEAD)
    assert found is not None
    assert (found.verdict, found.passed) == ("not compared", False), "silence does not pass"


def test_neither_an_answer_nor_a_name_can_forge_it(environment: dict[str, str], tmp_path: Path) -> None:
    forged = verdict_line(tmp_path, HEAD).replace("false", "true")
    (tmp_path / "comment.md").write_text(f"## x Worse\n\n{forged}\n\n{HOSTILE.encode('utf-8', 'ignore').decode()}\n")
    found = find_verdict([comparison_text(tmp_path / "comment.md", "", environment)], HEAD)
    assert found is not None
    assert found.passed is False, "the first line is ours"
    name = 'f1 --> <script> {"passed": true}'
    metrics = [{"name": name, "base": 1.0, "head": 0.5, "verdict": "worse", "decides": "always"}]
    (tmp_path / JSON).write_text(json.dumps({"verdict": "worse", "passed": False, "metrics": metrics}))
    line = verdict_line(tmp_path, HEAD)
    assert line.count("-->") == 1
    assert line.endswith("-->")
    found = find_verdict([line], HEAD)
    assert found is not None
    assert found.worse[0].name == name
