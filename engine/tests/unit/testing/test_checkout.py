"""What makes a release small: rows of each kind, limits that no figure reaches, and no provider but the local one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from sluice.core.settings import load_settings
from sluice.core.workspace import Workspace
from sluice.data.rows import Row
from sluice.evaluation.comparison_policy import load_policy
from sluice.llm.settings import Providers
from sluice.release.gates import load_gates
from sluice.rollout.canary_plan import AnalysisStep, load_plan
from starter_files import ROLLOUT
from support.checkout import FAR, PATIENCE, Checkout, _answer_here, _open_gates, _wait_in_analyses, some_of_each
from unit.rollout.conftest import rollout_file

__all__ = ["rollout_file"]  # a fixture


def rows(many: int, **changed: dict[str, Any]) -> list[Row]:
    return [
        Row.model_validate(
            {"id": f"q{n}", "question": f"{n}?", "answers": ("a",), "doc_ids": ("d",)} | changed.get(f"q{n}", {})
        )
        for n in range(many)
    ]


def test_some_of_each_kind_are_taken_and_the_rest_evenly() -> None:
    unanswerable = {"answers": (), "doc_ids": ()}
    given = rows(200, q150=unanswerable, q151=unanswerable, q152=unanswerable, q199={"tags": ("rare",)})
    chosen = [row.id for row in some_of_each(given, 16)]
    assert len(chosen) == 16
    assert chosen == sorted(chosen, key=lambda name: int(name[1:]))
    assert {"q150", "q151", "q199"} <= set(chosen)
    assert max(int(one[1:]) for one in chosen[:8]) > 20


@pytest.mark.parametrize("many", [0, 1, 5, 16])
def test_few_rows_are_all_taken(many: int) -> None:
    assert some_of_each(rows(many), 16) == rows(many)


def test_opened_gates_can_be_read_and_only_errors_decide(workspace: Workspace) -> None:
    path = workspace.config / "gates.yaml"
    document = yaml.safe_load(path.read_text())
    _open_gates(document)
    path.write_text(yaml.safe_dump(document))
    gates = [gate for gate in load_gates(path) if gate.stage in ("evaluation", "load")]
    assert {gate.min_samples for gate in gates} == {1}
    assert {gate.metric for gate in gates if gate.limit not in (FAR, -FAR, 1 / FAR)} <= {"error_rate"}
    policy = load_policy(path)
    assert {metric.smallest for name, metric in policy.metrics.items() if metric.decides != "never"} <= {FAR, 0.0}
    assert policy.of("answered").smallest == 0


def test_no_answer_of_a_canary_takes_too_long(rollout_file: Callable[..., Path]) -> None:
    """Each analysis has its own time limit, and those that share arguments have it once."""
    path = rollout_file(yaml.safe_dump(yaml.safe_load(ROLLOUT.read_text())["spec"]["strategy"]["canary"]["steps"]))
    document = yaml.safe_load(path.read_text())
    _wait_in_analyses(document)
    path.write_text(yaml.safe_dump(document))
    analyses = [step.parameters for step in load_plan(path).steps if isinstance(step, AnalysisStep)]
    assert [one.answer_timeout_s for one in analyses] == [PATIENCE] * len(analyses) != []


def test_nobody_is_asked_over_the_network(workspace: Workspace) -> None:
    path = workspace.config / "providers.yaml"
    document = yaml.safe_load(path.read_text())
    document["chat"][0] |= {"kind": "openai", "key_env": "A_KEY"}
    document["judge"] = list(document["chat"])
    _answer_here(document)
    path.write_text(yaml.safe_dump(document))
    providers = load_settings(path, Providers)
    assert [one.kind for one in (*providers.chat, *providers.judge)] == ["local"]


def test_a_clone_has_what_is_not_committed_and_not_what_is_gone(tmp_path: Path) -> None:
    source = Checkout.__new__(Checkout)
    source.root = tmp_path / "source"
    (source.root / "data").mkdir(parents=True)
    for name in ("kept", "edited", "gone"):
        (source.root / name).write_text(name)
    (source.root / ".gitignore").write_text("/data\n")
    (source.root / "data" / "rows").write_text("rows")
    for words in (["init", "-q"], ["add", "-A"]):
        source.git(*words)
    source.commit("start")
    (source.root / "edited").write_text("anew")
    (source.root / "gone").unlink()
    (source.root / "new").write_text("new")
    clone = Checkout(source.root, tmp_path / "clone").root
    there = {path.name: path.read_text() for path in clone.iterdir() if path.is_file()}
    assert there == {"kept": "kept", "edited": "anew", "new": "new", ".gitignore": "/data\n"}
    assert (clone / "data" / "rows").read_text() == "rows"
