from __future__ import annotations

from typing import Any

from sluice.release.compare import compare


def row(case: str, errors: dict[str, str] | None = None, **scores: float | None) -> dict[str, Any]:
    return {"id": case, "scores": scores, "errors": errors or {}}


def test_cases_come_broken_first_then_errors_wrong_fixed_right() -> None:
    old = [
        row("right", f1=1.0),
        row("fixed", f1=0.0),
        row("broken", f1=1.0),
        row("wrong", f1=0.1),
        row("error", f1=0.9),
    ]
    new = [
        row("right", f1=0.9),
        row("fixed", f1=0.8),
        row("wrong", f1=0.2),
        row("error", {"judge": "crashed"}, f1=0.9),
        row("broken", f1=0.2, recall_at_5=1.0),
    ]
    found = compare(new, old)
    assert [change.status for change in found.cases] == ["broken", "error", "wrong", "fixed", "right"]
    assert found.cases[0].change == -0.8
    assert found.cases[0].flipped == ("f1",)
    assert found.common == 5


def test_a_question_without_an_answer_is_judged_by_declining() -> None:
    (change,) = compare([row("q", f1=None, decline_accuracy=0.0)], [row("q", f1=None, decline_accuracy=1.0)]).cases
    assert (change.status, change.flipped) == ("broken", ("decline_accuracy",))


def test_deltas_are_over_common_cases_that_both_scored() -> None:
    new = [row("a", f1=1.0), row("b", f1=0.0), row("c", f1=None), row("only_new", f1=1.0)]
    old = [row("a", f1=0.0), row("b", f1=0.6), row("c", f1=1.0), row("only_old", f1=1.0)]
    delta = compare(new, old).metrics["f1"]
    assert (delta.candidate, delta.champion, delta.samples) == (0.5, 0.3, 2)
    assert (delta.fixed, delta.broken) == (("a",), ("b",))
    assert delta.difference == 0.2


def test_without_a_champion_nothing_is_fixed_or_broken() -> None:
    found = compare([row("a", f1=1.0), row("b", f1=0.0)], [])
    assert [change.status for change in found.cases] == ["wrong", "right"]
    assert found.metrics == {}


def test_a_case_that_crashed_has_no_score_and_is_an_error() -> None:
    (change,) = compare([row("a", {"f1": "boom"})], [row("a", f1=1.0)]).cases
    assert (change.status, change.score, change.change) == ("error", None, None)


def test_nan_is_no_score() -> None:
    assert compare([row("a", f1=float("nan"))], [row("a", f1=1.0)]).metrics == {}
