from __future__ import annotations

from typing import Any

from sluice.evaluation.paired_cases import CONSISTENCY, gather


def record(case: str = "q", trial: int = 0, **values: Any) -> dict[str, Any]:
    return {"id": case, "trial": trial, "status": "answered", "answer": "yes", "scores": {}, "assertions": {}} | values


def test_trials_are_averaged_within_the_case() -> None:
    trials = [
        record(trial=0, scores={"f1": 1.0, "mrr": None}, cost=0.2, labels={"language": "en"}),
        record(trial=1, scores={"f1": 0.0, "mrr": None}, cost=0.4, labels={"language": "fr"}),
        record(trial=2, scores={"f1": 0.5, "mrr": 1.0}, cost=0.6, labels={"language": "fr"}),
    ]
    trials[1]["assertions"] = {"regex": {"passed": False, "reason": "no match"}}
    trials[2]["assertions"] = {"regex": {"passed": True, "reason": ""}}
    (case,) = gather(trials, "base")[0].values()
    assert (case.values["f1"], case.values["mrr"], case.values["regex"]) == (0.5, 1.0, 0.5)
    assert case.cost is not None
    assert round(case.cost, 9) == 0.4
    assert case.labels == {"language": "fr"}


def test_consistency_is_the_share_that_agrees() -> None:
    def consistency(*answers: str, declined: tuple[bool, ...] = ()) -> float | None:
        flags = declined or (False,) * len(answers)
        trials = [record(trial=n, answer=text, declined=flags[n]) for n, text in enumerate(answers)]
        return gather(trials, "head")[0]["q"].values.get(CONSISTENCY)

    assert consistency("Yes.", "the yes", "no") == 2 / 3  # alike after normalisation
    assert consistency("a b c", "d", "e", "f") == 1 / 4
    assert consistency("I do not know", "Sorry", "yes", declined=(True, True, False)) == 2 / 3
    assert consistency("", "yes") == 1 / 2
    assert consistency("yes") == 1.0  # compared only where the other side was asked several times


def test_the_worst_trial_says_what_became_of_the_case() -> None:
    trials = [record(trial=0), record(trial=1, status="failed", answer=None), record(trial=2)]
    (case,) = gather(trials, "head")[0].values()
    assert (case.status, round(case.values["answered"], 3)) == ("failed", 0.667)
    assert CONSISTENCY not in case.values
    (case,) = gather([*trials, record(trial=3, status="not_evaluated")], "head")[0].values()
    assert case.status == "not_evaluated"
    assert "answered" not in case.values


def test_records_of_before_there_were_trials_are_read() -> None:
    old = {"id": "q", "question": "?", "expected": [], "tags": [], "answer": "yes", "scores": {"f1": 1.0}, "errors": {}}
    (case,) = gather([old], "base")[0].values()
    assert (case.status, case.values["f1"], case.recorded) == ("answered", 1.0, False)
