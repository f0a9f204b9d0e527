import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from sluice.core.errors import ValidationErrors
from sluice.evaluation.comparison import compare
from sluice.evaluation.comparison_policy import load_policy
from sluice.evaluation.comparison_result import CaseChange, Comparison, changes_of
from sluice.evaluation.evaluate_stage import open_metrics
from sluice.evaluation.paired_cases import CONSISTENCY, gather, pair
from sluice.release.gates import load_gates
from support.serving.fakes import scripted_bundle
from unit.evaluation.asking import METRICS, POLICY, Spoil, ask, changed


def judged(base: list[dict[str, Any]], head: list[dict[str, Any]], **policy: Any) -> Comparison:
    return compare(base, head, METRICS, POLICY.model_copy(update=policy))


def verdicts(found: Comparison) -> dict[str, str]:
    return {metric.name: metric.verdict for metric in found.metrics}


@pytest.mark.parametrize(
    ("spoil", "metrics"),
    [
        ("context left out", {"f1", "groundedness"}),
        ("wrong language", {"same_language"}),
        ("invents", {"decline_accuracy"}),
        ("temperature raised", {"consistency"}),
    ],
)
def test_each_regression_is_worse_by_the_right_metric(spoil: Spoil, metrics: set[str]) -> None:
    found = judged(ask(seed=1, trials=3), ask(seed=2, trials=3, spoil=spoil))
    assert found.verdict == "worse"
    assert not found.passed
    assert {metric.name for metric in found.deciding if metric.verdict == "worse"} == metrics


def test_reruns_of_the_same_application_raise_one_alarm_at_most() -> None:
    found: Counter[str] = Counter()
    for number in range(10):
        trials = 1 if number < 6 else 3
        one = judged(ask(seed=100 + number, trials=trials), ask(seed=900 + number, trials=trials))
        found.update(metric.name for metric in one.metrics if metric.verdict in ("worse", "improved"))
        found.update(part.tag for part in one.slices if part.judgement.verdict in ("worse", "improved"))
        assert one.passed == (one.verdict != "worse"), one.reasons
    assert found.total() <= 1, found


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
    judgement = decline.judgement
    assert (judgement.low or 0) < 0 < (judgement.high or 0)
    assert (judgement.detectable or 0) > 0.05
    assert {case.status for case in found.cases} == {"same"}


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


def test_a_sure_difference_that_does_not_matter_is_none_and_says_so() -> None:
    base = ask(seed=1)
    head = [record | {"scores": record["scores"] | {"tokens": record["scores"]["tokens"] + 1}} for record in base]
    (tokens,) = [metric for metric in judged(base, head).metrics if metric.name == "tokens"]
    assert tokens.verdict == "no difference seen"
    assert "smaller than what matters" in tokens.note
    assert (tokens.judgement.p_adjusted or 1) < 0.001
    head = [record | {"scores": record["scores"] | {"tokens": record["scores"]["tokens"] * 1.05}} for record in base]
    (tokens,) = [metric for metric in judged(base, head).metrics if metric.name == "tokens"]
    assert tokens.verdict == "worse", "the limit itself does matter"


def test_what_is_empty_or_too_small_is_never_green() -> None:
    for base, head in (([], []), (ask(seed=1), [])):
        found = judged(base, head)
        assert (found.verdict, found.passed) == ("not evaluated", False)
        assert found.reasons
    found = judged(ask(seed=1, cases=30), ask(seed=2, cases=30, spoil="invents"))
    assert verdicts(found)["decline_accuracy"] == "too few cases"
    assert verdicts(found)["f1"] == "no difference seen"
    assert (found.verdict, found.passed) == ("too few cases", False)


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


def test_a_metric_that_crashed_is_never_green() -> None:
    good = ask(seed=1)
    bad = changed(good, "q100", errors={"groundedness": "ValueError: no vectors"})
    assert judged(good, bad).reasons == ("groundedness crashed on 1 of head: q100",)
    found = judged(bad, good)
    assert (found.verdict, found.passed) == ("not evaluated", False)
    assert found.reasons == ("groundedness crashed on 1 of base: q100",)
    assert found.errors == {"groundedness": "ValueError: no vectors"}
    assert [metric.errors for metric in found.metrics if metric.name == "groundedness"] == [("q100",)]


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


def test_a_policy_for_a_metric_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValidationErrors, match=r"comparison\.metrics\.f2: no such metric \(did you mean 'f1'\?\)"):
        judged([], [], metrics=POLICY.metrics | {"f2": POLICY.metrics["f1"]})
    with pytest.raises(ValidationErrors, match=r"toxicity: no such metric \(removed: take a validator"):
        judged([], [], metrics=POLICY.metrics | {"toxicity": POLICY.metrics["f1"]})


FLIPPING = {"f1": True, "mrr": True, "toxicity": False}
DECIDING = {"f1", "toxicity"}


def scored(case: str, answer: str | None = "yes", status: str = "answered", **scores: float) -> dict[str, Any]:
    errors = {"f1": "HTTP 500"} if status == "failed" else {}
    return {"id": case, "status": status, "answer": answer, "scores": scores, "errors": errors}


def changes(base: list[dict[str, Any]], head: list[dict[str, Any]]) -> list[CaseChange]:
    return changes_of(pair(gather(base, "base")[0], gather(head, "head")[0])[0], FLIPPING, DECIDING)


def test_the_most_important_come_first() -> None:
    base = [scored(case, f1=1.0) for case in ("same", "less", "none", "word", "gone", "down", "slip")]
    base += [scored("up", f1=0.0), scored("back", None, "failed")]
    head = [
        scored("same", f1=1.0),
        scored("less", f1=0.4),
        scored("none", f1=0.0),
        scored("word", "yes, it is", f1=1.0),
        scored("gone", None, "not_evaluated"),
        scored("down", None, "failed"),
        scored("slip", f1=1.0) | {"errors": {"mrr": "crash"}},
        scored("up", f1=1.0),
        scored("back", f1=1.0),
    ]
    found = [(one.id, one.status) for one in changes(base, head)]
    assert found[:4] == [("none", "broken"), ("less", "broken"), ("down", "failed"), ("gone", "not evaluated")]
    assert found[4:7] == [("slip", "error"), ("back", "fixed"), ("up", "fixed")]
    assert found[7:] == [("word", "changed"), ("same", "same")]


def test_broken_counts_before_fixed_and_only_in_metrics_that_decide() -> None:
    (one,) = changes([scored("q", f1=1.0, toxicity=0.9, mrr=0.0)], [scored("q", f1=0.0, toxicity=0.1, mrr=1.0)])
    assert (one.status, one.broken, one.fixed) == ("broken", ("f1",), ("toxicity", "mrr"))
    (one,) = changes([scored("q", mrr=1.0)], [scored("q", mrr=0.0)])
    assert (one.status, one.broken) == ("same", ("mrr",))
    assert one.changes == (("mrr", 1.0, 0.0),)


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


GATES = Path(__file__).parents[4] / "config" / "gates.yaml"
TEXT = """comparison:
  confidence: 0.99
  power: 0.8
  resamples: 10000
  seed: 1
  minimum_cases: 20
  slices: {minimum_cases: 20, at_most: 12}
  metrics:
    f1: {decides: always, smallest: 0.02, minimum_cases: 30}
    mrr: {}
"""


def test_the_repository_s_policy_is_about_its_metrics() -> None:
    policy = load_policy(GATES)
    with open_metrics(scripted_bundle()) as metrics:
        found = compare([], [], metrics, policy)
    assert {one.name for one in found.metrics} == {name for name, m in policy.metrics.items() if m.decides == "always"}
    assert {"answer_key", "decline_accuracy", "citation_correctness"} <= {metric.name for metric in found.metrics}
    assert load_gates(GATES), "the gates stand in the same file"


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("power", "powers", "gates.yaml:3: comparison.powers: unknown key (did you mean 'power'?)"),
        (TEXT, "gates: []\n", "comparison: Field required"),
        ("decides: always, ", "", "metrics: none of them decides, so every change would pass"),
        ("resamples: 10000", "resamples: 150", "resamples: 150 cannot tell 1 metrics apart at confidence 0.99"),
        ("smallest: 0.02", "smallest: .nan", "gates.yaml:9: comparison.metrics.f1.smallest:"),
        ("power: 0.8", "power: 0.8\n  looks: [{share: 1, alpha: 0.5}]", "looks: the parts of alpha must add up to 1"),
        ("power: 0.8", "power: 0.8\n  looks: []", "looks: the shares must rise, and the last one must be 1"),
    ],
)
def test_faults_are_named(tmp_path: Path, old: str, new: str, fault: str) -> None:
    path = tmp_path / "gates.yaml"
    path.write_text(TEXT.replace(old, new, 1))
    with pytest.raises(ValidationErrors) as caught:
        load_policy(path)
    assert fault in str(caught.value)
