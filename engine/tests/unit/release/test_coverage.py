"""A data set that cannot satisfy its gates is told so before anything is trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from sluice.core.errors import ValidationErrors
from sluice.data.rows import Row
from sluice.release.coverage import require_rows

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
