"""A candidate beside the champion, with scripted applications."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from sluice.core.atomic_files import read_json, read_jsonl, write_json, write_jsonl
from sluice.core.workspace import Workspace
from sluice.data.rows import Row, write_rows
from sluice.evaluation.asked_rows import asking_order
from sluice.evaluation.evaluate_stage import BundleEvaluation, metrics_digest
from sluice.evaluation.metrics import f1
from sluice.jobs import evaluate_candidate
from sluice.release.decision import compare_results
from unit.jobs.played_comparison import record

ROWS = [Row(id=f"q{n}", question=f"What is {n}?", answers=(f"it is {n}",), doc_ids=("right",)) for n in range(80)]
GATE = """
  - {name: f1_floor, stage: evaluation, metric: f1, direction: at_least, limit: 0, relative_to: none, compare: value,
     min_samples: MIN}
"""
Evaluate = Callable[..., dict[str, Any]]


def scored(row: Row, score: float = 1.0) -> dict[str, Any]:
    return record(row, {"f1": score}, right=score > 0)


class Asked:
    def __init__(self, *, right: bool) -> None:
        self.turns: list[list[str]] = []
        self.right = right

    def __call__(
        self, rows: Sequence[Row], on_progress: Callable[[int, int], None] = lambda *_: None
    ) -> list[dict[str, Any]]:
        self.turns.append([row.id for row in rows])
        on_progress(len(rows), len(rows))
        return [scored(row, float(self.right)) for row in rows]


@pytest.fixture
def champion(tmp_path: Path) -> Path:
    folder = tmp_path / "champion"
    write_rows(folder / "judging" / "eval.jsonl", ROWS)
    write_jsonl(folder / "evaluation" / "cases.jsonl", [scored(row) for row in asking_order(ROWS)[:20]])
    write_json(folder / "evaluation" / "summary.json", {"scored_by": metrics_digest()})
    return folder


@pytest.fixture
def sides() -> dict[str, Asked]:
    return {"candidate": Asked(right=True), "champion": Asked(right=True)}


@pytest.fixture
def workspace(tmp_path: Path, champion: Path, sides: dict[str, Asked], monkeypatch: pytest.MonkeyPatch) -> Workspace:
    comparison = {
        **{"confidence": 0.95, "power": 0.8, "resamples": 400, "seed": 1, "minimum_cases": 10},
        "looks": [{"share": share, "alpha": alpha} for share, alpha in ((0.25, 0.1), (0.5, 0.2), (1, 0.7))],
        "slices": {"minimum_cases": 16, "at_most": 0},
        "metrics": {"f1": {"decides": "always", "smallest": 0.02}},
    }
    root = tmp_path / "checkout"
    (root / "config").mkdir(parents=True)
    (root / "config" / "gates.yaml").write_text(yaml.safe_dump({"comparison": comparison}) + "gates:" + gate(5))

    @contextmanager
    def opened(_: Workspace, bundle: Any) -> Iterator[tuple[BundleEvaluation, tuple[Any, ...]]]:
        yield sides["champion" if bundle == champion else "candidate"], (f1,)

    for name, played in {
        "open_evaluation": opened,
        "open_bundle": lambda folder, _: folder,
        "rows_of": lambda _: ROWS,
        "model_digest": lambda _: "model",
        "scores_digest": lambda *_: "digest",
        "record_evaluation": lambda *_: None,
    }.items():
        monkeypatch.setattr(evaluate_candidate, name, played)
    return Workspace(root)


def gate(least: int) -> str:
    return GATE.replace("MIN", str(least))


@pytest.fixture
def evaluate(workspace: Workspace, champion: Path) -> Evaluate:
    return lambda: evaluate_candidate.run(workspace, "candidate", champion, workspace.build / "evaluation")  # type: ignore[arg-type]


def order(first: int, last: int) -> list[str]:
    return [row.id for row in asking_order(ROWS)[first:last]]


def test_it_ends_at_the_first_look_that_decides_and_the_champion_is_asked_nothing_twice(
    evaluate: Evaluate, workspace: Workspace, sides: dict[str, Asked], capsys: pytest.CaptureFixture[str]
) -> None:
    sides["candidate"].right = False
    summary = evaluate()
    assert sides["candidate"].turns == [order(0, 20)]
    assert sides["champion"].turns == []
    assert (summary["cases"], summary["planned"]) == (20, 80)
    assert "Stopped after 20 of 80 cases: worse is decided (f1)." in capsys.readouterr().out
    for folder, score in (("evaluation", 0.0), ("champion", 1.0)):
        answered = read_jsonl(workspace.build / folder / "cases.jsonl")
        assert [case["id"] for case in answered] == order(0, 20)
        assert {case["scores"]["f1"] for case in answered} == {score}
    cases = workspace.build / "champion" / "cases.jsonl"
    found = compare_results(workspace.config / "gates.yaml", workspace.build / "evaluation", cases)
    assert (found.verdict, found.asked, found.planned) == ("worse", 20, 80)


def test_the_champion_is_asked_what_it_was_not_asked_before(evaluate: Evaluate, sides: dict[str, Asked]) -> None:
    assert evaluate()["cases"] == 40
    assert sides["candidate"].turns == [order(0, 20), order(20, 40)]
    assert sides["champion"].turns == [order(20, 40)]


def test_the_champion_is_asked_a_changed_row_too(evaluate: Evaluate, champion: Path, sides: dict[str, Asked]) -> None:
    changed = order(0, 20)[3]
    before = [row.model_copy(update={"answers": ("else",)}) if row.id == changed else row for row in ROWS]
    write_rows(champion / "judging" / "eval.jsonl", before)
    evaluate()
    assert sides["champion"].turns == [[changed], order(20, 40)]


def test_answers_are_scored_by_today_s_metrics(evaluate: Evaluate, champion: Path, workspace: Workspace) -> None:
    stored = [scored(row, 0.25) for row in asking_order(ROWS)[:20]]
    write_jsonl(champion / "evaluation" / "cases.jsonl", stored)
    write_json(champion / "evaluation" / "summary.json", {"scored_by": "older metrics"})
    evaluate()
    cases = read_jsonl(workspace.build / "champion" / "cases.jsonl")
    assert {case["scores"]["f1"] for case in cases} == {1.0}
    assert read_json(workspace.build / "champion" / "summary.json")["scored_by"] == metrics_digest()


def test_it_goes_on_until_the_gates_have_their_samples(evaluate: Evaluate, workspace: Workspace) -> None:
    gates = workspace.config / "gates.yaml"
    gates.write_text(gates.read_text().replace(gate(5), gate(41)))
    assert evaluate()["cases"] == 80
