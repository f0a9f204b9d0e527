"""The aggregate check: only success passes, and a skip only where the plan has said so."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sluice.core.errors import SluiceError
from sluice.github.job_plan import JOBS, judge, summary


def needs(*, planned: dict[str, Any] | None = None, plan: str = "success", **results: str | None) -> str:
    """All jobs succeeded and were planned, but for what is said otherwise; None leaves a job out."""
    outputs = dict.fromkeys(JOBS, "true") | (planned or {})
    found = dict.fromkeys(JOBS, "success") | {name.replace("_", "-"): result for name, result in results.items()}
    jobs = {job: {"result": result, "outputs": {}} for job, result in found.items() if result is not None}
    return json.dumps({"plan": {"result": plan, "outputs": outputs}, **jobs})


def faults(text: str) -> dict[str, str]:
    return {one.job: one.fault for one in judge(text) if one.fault}


def test_all_succeeded() -> None:
    assert faults(needs()) == {}


def test_a_skip_that_the_plan_asked_for_passes() -> None:
    text = needs(planned={"eval": "false"}, eval="skipped")
    assert faults(text) == {}
    assert "| `eval` | `skipped` | `not needed` |" in summary(judge(text))


def test_what_was_not_needed_and_succeeded_passes() -> None:
    assert faults(needs(planned={"eval": "false"})) == {}


@pytest.mark.parametrize("result", ["failure", "cancelled", "timed_out", "", "Success", "neutral"])
@pytest.mark.parametrize("planned", ["true", "false"])
def test_anything_but_success_fails(result: str, planned: str) -> None:
    assert faults(needs(planned={"test": planned}, test=result)) == {"test": "it has to succeed"}


def test_a_skip_of_what_was_asked_for_fails() -> None:
    assert faults(needs(eval="skipped")) == {"eval": "the plan asked for it"}


@pytest.mark.parametrize("word", ["", "False", "no", None, False, 0])
def test_a_skip_needs_the_very_word(word: Any) -> None:
    found = faults(needs(planned={"eval": word}, eval="skipped"))
    assert found["plan"] == "it says neither true nor false for eval"
    assert found["eval"] == "no plan allows to skip it"


def test_a_skip_of_a_job_that_no_plan_knows_fails() -> None:
    assert faults(needs(extra="skipped")) == {"extra": "no plan allows to skip it"}
    assert faults(needs(extra="success")) == {}


def test_a_planned_job_that_is_not_waited_for_fails() -> None:
    assert faults(needs(rehearse=None)) == {"rehearse": "it is planned, but not under `needs:`"}


@pytest.mark.parametrize("result", ["failure", "skipped", "cancelled"])
def test_without_a_plan_nothing_passes(result: str) -> None:
    text = json.dumps({"plan": {"result": result, "outputs": {}}} | {job: {"result": "skipped"} for job in JOBS})
    assert set(faults(text)) == {"plan", *JOBS}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "NEEDS: "),
        ("{", "NEEDS: "),
        ("[]", "not an object"),
        ('{"plan": 1}', "not an object"),
        ("{}", "no job"),
        ('{"test": {}}', "no job `plan`"),
    ],
)
def test_what_is_no_context_is_an_error(text: str, words: str) -> None:
    with pytest.raises(SluiceError, match=words):
        judge(text)
