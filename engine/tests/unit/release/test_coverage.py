"""A data set that cannot satisfy its gates is told so before anything is trained."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from sluice.core.errors import SluiceError, ValidationErrors
from sluice.data.rows import Row
from sluice.evaluation.output import Metric, Output
from sluice.evaluation.registry import make_metrics
from sluice.release.coverage import can_score, require_rows

GATES = Path(__file__).parents[4] / "config" / "gates.yaml"
RIGHT = [Row(id=f"q{n}", question="?", answers=("x",), doc_ids=("d",)) for n in range(20)]
DECLINED = [Row(id=f"u{n}", question="?", answers=(), doc_ids=()) for n in range(20)]


def faults(rows: list[Row], gates: Path = GATES) -> list[str]:
    with pytest.raises(ValidationErrors) as caught:
        require_rows(rows, gates)
    assert "data/eval.jsonl" in caught.value.message
    assert "when_asked" in str(caught.value.remedy)
    return list(caught.value.faults)


def test_a_set_with_enough_of_each_kind_passes() -> None:
    require_rows(RIGHT + DECLINED, GATES)


def test_without_rows_to_decline_the_metric_the_count_and_what_to_add_are_named() -> None:
    assert faults(RIGHT) == [
        "config/gates.yaml: comparison.metrics.decline_accuracy needs 20 rows without answers, which must be declined "
        "(answers: []); of 20 there are 0"
    ]


def test_every_gate_and_every_metric_that_decides_always_is_named_at_once() -> None:
    found = faults(RIGHT[:9] + DECLINED[:9])
    assert [fault.split(" needs ")[0] for fault in found] == [
        "config/gates.yaml: gate recall_at_5_floor",
        "config/gates.yaml: gate latency_p95_sane",
        "config/gates.yaml: comparison.metrics.answer_key",
        "config/gates.yaml: comparison.metrics.decline_accuracy",
        "config/gates.yaml: comparison.metrics.citation_correctness",
        "config/gates.yaml: comparison.metrics.mrr",
        "config/gates.yaml: comparison.metrics.ndcg_at_5",
    ]
    assert found[0].endswith("needs 20 rows that name the documents with the answer (doc_ids); of 18 there are 9")


def test_what_a_small_profile_asks_for_less_of_passes(tmp_path: Path) -> None:
    """By the numbers of the file, and by no other way."""
    document = yaml.safe_load(GATES.read_text())
    document["comparison"]["minimum_cases"] = 5
    for gate in document["gates"]:
        gate["min_samples"] = 5
    small = tmp_path / "gates.yaml"
    small.write_text(yaml.safe_dump(document))
    require_rows(RIGHT[:5] + DECLINED[:5], small)
    assert len(faults(RIGHT[:5] + DECLINED[:4], small)) == 1


def test_a_metric_that_does_not_decide_always_needs_nothing(tmp_path: Path) -> None:
    changed = tmp_path / "gates.yaml"
    changed.write_text(
        GATES.read_text().replace("decline_accuracy: {decides: always", "decline_accuracy: {decides: when_asked")
    )
    require_rows(RIGHT, changed)


def test_without_a_policy_nothing_is_called_enough(tmp_path: Path) -> None:
    with pytest.raises(SluiceError, match=r"gates\.yaml"):
        require_rows(RIGHT + DECLINED, tmp_path / "gates.yaml")


@pytest.mark.parametrize(
    ("name", "answerable", "unanswerable"),
    [
        ("f1", True, False),
        ("decline_accuracy", False, True),
        ("false_declines", True, False),
        ("citation_correctness", True, False),
        ("mrr", True, False),
        ("contains", False, False),
        ("latency_p95_ms", True, True),
    ],
)
def test_a_metric_says_by_itself_which_rows_it_can_score(name: str, answerable: bool, unanswerable: bool) -> None:
    (metric,) = (metric for metric in make_metrics() if metric.name == name)
    assert (can_score(metric, RIGHT[0]), can_score(metric, DECLINED[0])) == (answerable, unanswerable)


def test_a_metric_that_has_to_be_waited_for_counts_for_every_row() -> None:
    class Slow(Metric):
        async def score(self, row: Row, output: Output) -> float | None:  # noqa: ARG002
            return None

    assert (can_score(Slow(), RIGHT[0]), can_score(Slow(), DECLINED[0])) == (True, True)
