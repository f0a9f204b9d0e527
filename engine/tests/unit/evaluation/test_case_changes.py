from __future__ import annotations

from typing import Any

import pytest

from sluice.evaluation.case_changes import CaseChange, changes_of
from sluice.evaluation.paired_cases import gather, pair

FLIPPING = {"f1": True, "mrr": True, "toxicity": False}
DECIDING = {"f1", "toxicity"}


def record(case: str, answer: str | None = "yes", status: str = "answered", **scores: float) -> dict[str, Any]:
    errors = {"f1": "HTTP 500"} if status == "failed" else {}
    return {"id": case, "status": status, "answer": answer, "scores": scores, "errors": errors}


def changes(base: list[dict[str, Any]], head: list[dict[str, Any]]) -> list[CaseChange]:
    return changes_of(pair(gather(base, "base")[0], gather(head, "head")[0])[0], FLIPPING, DECIDING)


def test_the_most_important_come_first() -> None:
    base = [record(case, f1=1.0) for case in ("same", "less", "none", "word", "gone", "down", "slip")]
    base += [record("up", f1=0.0), record("back", None, "failed")]
    head = [
        record("same", f1=1.0),
        record("less", f1=0.4),
        record("none", f1=0.0),
        record("word", "yes, it is", f1=1.0),
        record("gone", None, "not_evaluated"),
        record("down", None, "failed"),
        record("slip", f1=1.0) | {"errors": {"mrr": "crash"}},
        record("up", f1=1.0),
        record("back", f1=1.0),
    ]
    assert [(one.id, one.status) for one in changes(base, head)] == [
        ("none", "broken"),
        ("less", "broken"),
        ("down", "failed"),
        ("gone", "not evaluated"),
        ("slip", "error"),
        ("back", "fixed"),
        ("up", "fixed"),
        ("word", "changed"),
        ("same", "same"),
    ]


def test_broken_counts_before_fixed_and_only_in_metrics_that_decide() -> None:
    (one,) = changes([record("q", f1=1.0, toxicity=0.9, mrr=0.0)], [record("q", f1=0.0, toxicity=0.1, mrr=1.0)])
    assert (one.status, one.broken, one.fixed) == ("broken", ("f1",), ("toxicity", "mrr"))
    (one,) = changes([record("q", mrr=1.0)], [record("q", mrr=0.0)])
    assert (one.status, one.broken) == ("same", ("mrr",))
    assert one.changes == (("mrr", 1.0, 0.0),)


def test_what_made_the_verdict_comes_before_what_did_not() -> None:
    pairs = pair(
        gather([record("a", f1=1.0), record("b", toxicity=0.1)], "base")[0],
        gather([record("a", f1=0.0), record("b", toxicity=0.6)], "head")[0],
    )[0]
    assert [one.id for one in changes_of(pairs, FLIPPING, DECIDING, {"toxicity"})] == ["b", "a"]
    assert [one.id for one in changes_of(pairs, FLIPPING, DECIDING)] == ["a", "b"]


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        (0.4, 0.5, (("f1",), ())),
        (0.5, 0.4, ((), ("f1",))),
        (0.5, 1.0, ((), ())),
        (0.0, 0.49, ((), ())),
        (1.0, 0.0, ((), ("f1",))),
    ],
)
def test_a_flip_crosses_the_middle(before: float, after: float, found: tuple[tuple[str, ...], ...]) -> None:
    (one,) = changes([record("q", f1=before)], [record("q", f1=after)])
    assert (one.fixed, one.broken) == found
