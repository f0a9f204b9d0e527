from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any

import pytest

from sluice.core.errors import ValidationErrors
from sluice.evaluation.comparison import compare
from sluice.evaluation.comparison_policy import ComparisonPolicy
from sluice.evaluation.comparison_result import Comparison
from unit.evaluation.asking import METRICS, Measured, Spoil, ask, changed

POLICY = ComparisonPolicy.model_validate(
    {
        "confidence": 0.99,
        "power": 0.8,
        "resamples": 4000,
        "seed": 1,
        "minimum_cases": 20,
        "slices": {"minimum_cases": 20, "at_most": 12},
        "metrics": {
            "f1": {"decides": "always", "smallest": 0.02},
            "groundedness": {"decides": "when_asked", "smallest": 0.03},
            "decline_accuracy": {"decides": "always", "smallest": 0.05},
            "citation_correctness": {"decides": "always", "smallest": 0.03},
            "same_language": {"decides": "when_asked", "smallest": 0.03},
            "json_schema": {"decides": "when_asked", "smallest": 0.03},
            "not_contains": {"decides": "when_asked", "smallest": 0.03},
            "answer_words": {"decides": "when_asked", "smallest_ratio": 0.2},
            "consistency": {"decides": "when_asked", "smallest": 0.05},
            "answered": {"decides": "when_asked"},
            "exact_match": {"smallest": 0.02},
            "tokens": {"smallest_ratio": 0.05},
            "latency_p50_ms": {"smallest_ratio": 0.25},
        },
    }
)


def judged(base: list[dict[str, Any]], head: list[dict[str, Any]], **policy: Any) -> Comparison:
    return compare(base, head, METRICS, POLICY.model_copy(update=policy))


def verdicts(found: Comparison) -> dict[str, str]:
    return {metric.name: metric.verdict for metric in found.metrics}


@pytest.mark.parametrize(
    ("spoil", "metrics"),
    [
        ("context left out", {"f1", "groundedness"}),
        ("wrong language", {"same_language"}),
        ("format lost", {"json_schema"}),
        ("invents", {"decline_accuracy"}),
        ("obeys injected", {"not_contains"}),
        ("over-long", {"answer_words"}),
        ("citation dropped", {"citation_correctness"}),
        ("temperature raised", {"consistency"}),
    ],
)
def test_each_regression_is_worse_by_the_right_metric(spoil: Spoil, metrics: set[str]) -> None:
    found = judged(ask(seed=1, trials=3), ask(seed=2, trials=3, spoil=spoil))
    assert found.verdict == "worse"
    assert not found.passed
    assert {metric.name for metric in found.deciding if metric.verdict == "worse"} == metrics


def test_the_regressions_that_one_trial_can_show_are_found_with_one() -> None:
    spoils: tuple[Spoil, ...] = ("context left out", "wrong language", "format lost", "invents", "obeys injected")
    for spoil in (*spoils, "over-long", "citation dropped"):
        assert judged(ask(seed=3), ask(seed=4, spoil=spoil)).verdict == "worse", spoil


def alarms(reruns: int, trials: int) -> Counter[str]:
    """Metrics called worse or improved although the application is the same, slices too."""
    found: Counter[str] = Counter()
    for number in range(reruns):
        one = judged(ask(seed=100 + number, trials=trials), ask(seed=900 + number, trials=trials))
        found.update(metric.name for metric in one.metrics if metric.verdict in ("worse", "improved"))
        found.update(part.tag for part in one.slices if part.judgement.verdict in ("worse", "improved"))
        assert one.passed == (one.verdict != "worse"), one.reasons
    return found


def test_fifty_reruns_of_the_same_application_raise_two_alarms_at_most() -> None:
    found = alarms(30, trials=1) + alarms(20, trials=3)
    assert found.total() <= 2, found


def test_the_reruns_do_differ() -> None:
    found = judged(ask(seed=1), ask(seed=2))
    assert found.identical < 120
    moved = {metric.name for metric in found.metrics if metric.judgement.difference}
    assert {"f1", "tokens", "decline_accuracy"} <= moved


def test_the_same_records_give_the_same_comparison_in_any_order() -> None:
    base, head = ask(seed=1, trials=2), ask(seed=2, trials=2)
    one = judged(base, head).as_dict()
    other = judged(list(reversed(base)), head).as_dict()
    assert one == other
    assert json.loads(json.dumps(one, allow_nan=False)) == one
    assert one["schema"] == 1


def test_nothing_changed_is_no_difference_seen_with_a_width() -> None:
    base = ask(seed=1)
    found = judged(base, base)
    assert (found.verdict, found.passed, found.identical) == ("no difference seen", True, 150)
    (decline,) = [metric for metric in found.metrics if metric.name == "decline_accuracy"]
    low, high = decline.judgement.low, decline.judgement.high
    assert low is not None
    assert high is not None
    assert low < 0 < high
    assert decline.judgement.detectable is not None
    assert decline.judgement.detectable > 0.05
    assert {case.status for case in found.cases} == {"same"}


def test_a_better_prompt_is_improved() -> None:
    found = judged(ask(seed=1, spoil="citation dropped"), ask(seed=2))
    assert found.verdict == "improved"
    assert found.passed
    assert verdicts(found)["citation_correctness"] == "improved"


def test_a_metric_that_decides_when_worse_improves_nothing() -> None:
    words = POLICY.of("answer_words").model_copy(update={"decides": "when_worse"})
    policy = POLICY.model_copy(update={"metrics": POLICY.metrics | {"answer_words": words}})
    long, short = ask(seed=1, spoil="over-long"), ask(seed=2)
    shorter = compare(long, short, METRICS, policy)
    assert (verdicts(shorter)["answer_words"], shorter.verdict) == ("improved", "no difference seen")
    assert compare(short, long, METRICS, policy).verdict == "worse"
    cited = compare(ask(seed=1, spoil="citation dropped"), long, METRICS, policy)
    assert (verdicts(cited)["answer_words"], cited.verdict) == ("worse", "improved")
    assert verdicts(judged(long, short))["answer_words"] == "improved"


def test_worse_outweighs_improved() -> None:
    found = judged(ask(seed=1, spoil="citation dropped"), ask(seed=2, spoil="over-long"))
    assert (verdicts(found)["citation_correctness"], found.verdict) == ("improved", "worse")


def test_a_metric_that_informs_never_makes_it_worse() -> None:
    base = ask(seed=1)
    head = [record | {"scores": record["scores"] | {"tokens": record["scores"]["tokens"] * 2}} for record in base]
    found = judged(base, head)
    assert verdicts(found)["tokens"] == "worse"
    assert found.verdict == "no difference seen"


def test_a_sure_difference_that_does_not_matter_is_none_and_says_so() -> None:
    base = ask(seed=1)
    head = [record | {"scores": record["scores"] | {"tokens": record["scores"]["tokens"] + 1}} for record in base]
    (tokens,) = [metric for metric in judged(base, head).metrics if metric.name == "tokens"]
    assert tokens.verdict == "no difference seen"
    assert "smaller than what matters" in tokens.note
    assert tokens.judgement.p_adjusted is not None
    assert tokens.judgement.p_adjusted < 0.001


def test_trials_of_a_case_count_as_one_case() -> None:
    found = judged(ask(seed=1, trials=3), ask(seed=2, trials=3))
    assert {metric.name: metric.judgement.cases for metric in found.metrics}["f1"] == 110
    assert (found.trials, found.compared) == (3, 150)


def test_too_few_cases_are_said_to_be_too_few() -> None:
    found = judged(ask(seed=1, cases=30), ask(seed=2, cases=30, spoil="invents"))
    assert verdicts(found)["decline_accuracy"] == "too few cases"
    assert verdicts(found)["f1"] == "no difference seen"
    assert (found.verdict, found.passed) == ("too few cases", False)


@pytest.mark.parametrize("empty", ["base", "head", "both"])
def test_an_empty_set_is_never_green(empty: str) -> None:
    base, head = ([] if empty in (side, "both") else ask(seed=1) for side in ("base", "head"))
    found = judged(base, head)
    assert (found.verdict, found.passed) == ("not evaluated", False)
    assert found.reasons


def test_cases_that_were_not_evaluated_are_named_and_never_green() -> None:
    base = ask(seed=1)
    head = changed(base, "q007", status="not_evaluated", scores={}, assertions={}, errors={"replay": "no response"})
    found = judged(base, head)
    assert (found.verdict, found.passed) == ("not evaluated", False)
    assert found.reasons == ("1 not evaluated in head: q007",)
    assert found.named["not_evaluated"] == {"base": (), "head": ("q007",)}
    assert found.errors == {"replay": "no response"}
    assert found.cases[0].status == "not evaluated"
    assert found.compared == 149


def test_a_failed_case_is_broken_or_mended() -> None:
    good = ask(seed=1)
    bad = changed(good, "q060", status="failed", answer=None, scores={}, assertions={}, errors={"f1": "HTTP 500"})
    broke, fixed = judged(good, bad), judged(bad, good)
    assert (broke.verdict, broke.reasons) == ("not evaluated", ("1 failed in head: q060",))
    assert broke.cases[0].status == "failed"
    assert "answered" in verdicts(broke)
    assert (fixed.verdict, fixed.reasons) == ("no difference seen", ())
    assert fixed.cases[0].status == "fixed"
    assert fixed.named["failed"] == {"base": ("q060",), "head": ()}


def test_many_failed_cases_are_worse() -> None:
    good = ask(seed=1)
    failed = {"status": "failed", "answer": None, "scores": {}, "assertions": {}, "errors": {"f1": "HTTP 500"}}
    bad = [record | failed if number < 30 else record for number, record in enumerate(good)]
    found = judged(good, bad)
    assert (verdicts(found)["answered"], found.verdict) == ("worse", "worse")


@pytest.mark.parametrize("side", ["base", "head"])
def test_a_metric_that_crashed_is_never_green(side: str) -> None:
    good = ask(seed=1)
    bad = changed(good, "q100", errors={"groundedness": "ValueError: no vectors"})
    found = judged(*((bad, good) if side == "base" else (good, bad)))
    assert (found.verdict, found.passed) == ("not evaluated", False)
    assert found.reasons == (f"groundedness crashed on 1 of {side}: q100",)
    assert found.errors == {"groundedness": "ValueError: no vectors"}
    assert [metric.errors for metric in found.metrics if metric.name == "groundedness"] == [("q100",)]


def test_a_score_that_is_no_number_is_a_crash() -> None:
    good = ask(seed=1)
    bad = changed(good, "q100", scores={**good[100]["scores"], "f1": math.nan})
    assert judged(good, bad).reasons == ("f1 crashed on 1 of head: q100",)


def test_sides_that_were_not_asked_the_same_are_never_green() -> None:
    base = ask(seed=1)
    other = changed(base, "q003", question="Another?")
    for head, reason in (
        (base[1:], "1 case not asked in head: q000"),
        (other, "1 case with another question or expected answer: q003"),
        ([*base, base[5]], "1 case in head more than once for the same trial: q005"),
        ([*base, base[0] | {"id": ""}], "1 record of head without an id: number 151"),
        ([*base, base[0] | {"trial": 1}], "1 case asked a different number of times: q000"),
    ):
        found = judged(base, head)
        assert (found.verdict, found.passed) == ("not evaluated", False)
        assert found.reasons == (reason,)


def test_a_metric_of_one_side_only_is_never_green() -> None:
    base = ask(seed=1)
    head = [record | {"assertions": {}} for record in base]
    found = judged(base, head)
    assert not found.passed
    assert "json_schema was measured in base only" in found.reasons


def test_worse_stays_worse_when_something_was_not_evaluated() -> None:
    head = changed(ask(seed=2, spoil="format lost"), "q001", status="not_evaluated", scores={}, assertions={})
    found = judged(ask(seed=1), head)
    assert found.verdict == "worse"
    assert found.reasons == ("1 not evaluated in head: q001",)


def test_flips_name_their_metrics() -> None:
    base = changed(ask(seed=1), "q100", scores={"f1": 1.0, "exact_match": 1.0, "citation_correctness": 0.0})
    head = changed(base, "q100", scores={"f1": 0.2, "exact_match": 0.0, "citation_correctness": 1.0})
    found = judged(base, head)
    (case,) = [case for case in found.cases if case.status != "same"]
    assert (case.id, case.status) == ("q100", "broken")
    assert case.broken == ("f1", "exact_match")
    assert case.fixed == ("citation_correctness",)
    assert {
        metric.name: (metric.fixed, metric.broken) for metric in found.metrics if metric.fixed or metric.broken
    } == {
        "f1": ((), ("q100",)),
        "exact_match": ((), ("q100",)),
        "citation_correctness": (("q100",), ()),
    }
    assert found.as_dict()["cases"][0]["changes"]["f1"] == [1.0, 0.2]


def test_where_lower_is_better_a_rise_breaks() -> None:
    metrics = (*METRICS, Measured("toxicity", direction="lower"))
    policy = POLICY.model_copy(update={"metrics": POLICY.metrics | {"toxicity": POLICY.metrics["f1"]}})
    base = [record | {"scores": record["scores"] | {"toxicity": 0.1}} for record in ask(seed=1)]
    head = changed(base, "q010", scores=base[10]["scores"] | {"toxicity": 0.9})
    (case,) = [case for case in compare(base, head, metrics, policy).cases if case.status != "same"]
    assert (case.status, case.broken) == ("broken", ("toxicity",))


def test_what_an_assertion_cannot_judge_on_one_side_held_there() -> None:
    base = changed(ask(seed=1), "q100", assertions={})
    head = changed(
        base, "q100", assertions={"same_language": {"passed": False, "reason": "asked in en, answered in fr"}}
    )
    found = judged(base, head)
    assert found.cases[0].broken == ("same_language",)


def test_labels_that_moved_are_counted() -> None:
    found = judged(ask(seed=1), ask(seed=2, spoil="wrong language"))
    (label,) = found.labels
    assert (label.name, label.cases) == ("language", 150)
    ((before, after, ids),) = label.changes
    assert (before, after) == ("en", "fr")
    assert len(ids) > 80


def test_slices_by_tag() -> None:
    found = judged(ask(seed=1), ask(seed=2, spoil="invents"))
    named = {(one.tag, one.metric): one.judgement for one in found.slices}
    assert named["unanswerable", "decline_accuracy"].verdict == "worse"
    assert ("answerable", "f1") in named
    assert ("unanswerable", "f1") not in named
    assert not [one for one in found.slices if one.judgement.cases < 20]
    heads = [one.judgement.head for one in found.slices if one.metric == "f1"]
    assert heads == sorted(heads)  # the worst first


def test_times_of_another_run_inform_only_and_say_so() -> None:
    policy = {"metrics": POLICY.metrics | {"latency_p50_ms": POLICY.metrics["answer_words"]}}
    base = ask(seed=1)
    slow = {"latency_p50_ms": 9000.0}
    head = [record | {"scores": record["scores"] | slow} for record in base]
    assert judged(base, head, **policy).verdict == "worse"
    recorded = [record | {"recorded": True} for record in base]
    found = judged(recorded, head, **policy)
    (latency,) = [metric for metric in found.metrics if metric.name == "latency_p50_ms"]
    assert (latency.decides, latency.verdict, latency.judgement.cases) == ("never", "too few cases", 0)
    assert latency.judgement.head == 9000.0
    assert latency.note == "times of 150 cases were recorded in another run; informs only"
    assert found.verdict == "no difference seen"
    # Cases that both sides timed in this run are judged by themselves.
    partly = judged([record | {"recorded": number < 50} for number, record in enumerate(base)], head, **policy)
    (latency,) = [metric for metric in partly.metrics if metric.name == "latency_p50_ms"]
    assert (latency.decides, latency.verdict, latency.judgement.cases) == ("never", "worse", 100)


def test_whether_times_were_recorded_changes_nothing_of_any_other_metric() -> None:
    """A pull request without a key replays its answers: everything else is, bit by bit, what a key would have shown."""
    timed, base = {}, [record | {"recorded": False} for record in ask(seed=1)]
    head = ask(seed=2, spoil="context left out")
    for recorded in (True, False):
        found = judged(base, [record | {"recorded": recorded} for record in head]).as_dict()["metrics"]
        timed[recorded] = [metric for metric in found if metric["unit"] != "ms"]
        assert {metric["name"] for metric in found if metric["unit"] == "ms"} == {"latency_p50_ms"}
        assert len([metric for metric in timed[recorded] if metric["decides"] == "never"]) > 1
    assert timed[True] == timed[False]


def test_what_it_costs() -> None:
    found = judged(ask(seed=1), ask(seed=1, spoil="over-long")).as_dict()["cost"]
    assert found["cases"] == 150
    assert found["per_case"]["difference"] == pytest.approx(0.0025)
    assert found["per_1000"]["difference"] == pytest.approx(2.5)
    assert judged([record | {"cost": None} for record in ask(seed=1)], ask(seed=1)).cost is None


def test_a_policy_for_a_metric_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValidationErrors, match=r"comparison\.metrics\.f2: no such metric \(did you mean 'f1'\?\)"):
        judged([], [], metrics=POLICY.metrics | {"f2": POLICY.metrics["f1"]})
    with pytest.raises(ValidationErrors, match=r"toxicity: no such metric \(removed: take a validator"):
        judged([], [], metrics=POLICY.metrics | {"toxicity": POLICY.metrics["f1"]})
