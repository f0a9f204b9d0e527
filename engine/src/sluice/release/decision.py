"""What decides about a release: gates over its own figures, and the comparison with the champion's answers.

The comparison is that of a pull request (`sluice eval`) and of the canary, with the same numbers under `comparison:` in
config/gates.yaml: a change that is called not worse there is not refused here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from sluice.core.atomic_files import read_json, read_jsonl
from sluice.core.errors import SluiceError
from sluice.evaluation.comparison_policy import load_policy
from sluice.evaluation.comparison_result import Comparison, MetricComparison
from sluice.evaluation.paired_cases import scores_of
from sluice.evaluation.registry import Metric
from sluice.evaluation.reports import phrasing
from sluice.evaluation.sequential import SequentialComparison
from sluice.evaluation.summary import measures_of, not_a_summary, summarise
from sluice.release.gates import Measurement, decide, load_gates
from sluice.release.verdict import Verdict

REFERENCE = "champion"  # folder of build/ with the champion's answers
_WORST = 10


def decide_release(gates: Path, evaluation: Path, champion: Path) -> list[Verdict]:
    """All verdicts about a candidate: those of the gates of stage evaluation, then those of the comparison."""
    verdicts = decide(load_gates(gates), "evaluation", figures(evaluation), reference(evaluation, champion))
    return [*verdicts, *verdicts_of(compare_results(gates, evaluation, champion / "cases.jsonl"), "comparison")]


def compare_results(gates: Path, evaluation: Path, champion: Path) -> Comparison:
    """Compares stored records. `champion`: the champion's cases.jsonl; the rest as for `decide_release`, and the
    candidate's summary says what its metrics are, and of how many cases these are the first."""
    place = evaluation / "summary.json"
    summary, cases = read_json(place), read_jsonl(evaluation / "cases.jsonl")
    asked = len({str(case["id"]) for case in cases})
    planned = summary.get("planned", asked)  # earlier releases were asked everything
    test = SequentialComparison(measures_of(summary, place), load_policy(gates), planned)
    found = test.look(read_jsonl(champion), cases) if asked in test.looks else None
    if found is None:
        raise SluiceError(f"{place}: {asked} of {planned} cases decide nothing", remedy="run the evaluation again")
    return found


def sampled(gates: Path, cases: Sequence[dict[str, Any]], metrics: Sequence[Metric]) -> bool:
    """Tell whether the cases have as many samples as the gates of stage evaluation need."""
    found = summarise((), cases, metrics)
    samples = {name: one["samples"] for kind in ("metrics", "assertions") for name, one in found[kind].items()}
    return all(
        samples.get(gate.metric, 0) >= gate.min_samples for gate in load_gates(gates) if gate.stage == "evaluation"
    )


def figures(evaluation: Path) -> dict[str, Measurement]:
    """Figures by metric from `evaluation`/summary.json and cases.jsonl: scores, and shares of assertions that passed.

    The worst cases of a metric come first: those that ended in an error, then the lowest scores.
    """
    summary, cases = read_json(evaluation / "summary.json"), read_jsonl(evaluation / "cases.jsonl")
    try:
        scores = {
            name: Measurement(metric["value"], metric["samples"], metric["errors"], _worst(name, metric, cases))
            for name, metric in summary["metrics"].items()
        }
        # The summaries of earlier releases hold scores alone.
        return scores | {
            name: Measurement(found["share"], found["samples"], found["errors"], _failed(name, cases))
            for name, found in summary.get("assertions", {}).items()
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise not_a_summary(evaluation / "summary.json", error) from None


def reference(evaluation: Path, champion: Path) -> dict[str, Measurement]:
    """The champion's stored figures, to judge `evaluation` against. Results on other cases are refused: a mean over
    other questions says nothing about this change."""
    mine, theirs = read_json(evaluation / "summary.json"), read_json(champion / "summary.json")
    if mine.get("cases_digest") != theirs.get("cases_digest"):
        raise SluiceError(
            f"{champion / 'summary.json'}: the champion was asked other cases than {evaluation / 'summary.json'}",
            remedy="evaluate the champion on the present cases first",
        )
    return figures(champion)


def _failed(name: str, cases: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Cases of an assertion: those that ended in an error, then those that did not pass."""
    erred = [row["id"] for row in cases if name in (row.get("errors") or {})]
    held = ((row["id"], (row.get("assertions") or {}).get(name)) for row in cases)
    return tuple([*erred, *(case for case, found in held if found and not found["passed"])][:_WORST])


def _worst(name: str, metric: Mapping[str, Any], cases: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    sign = 1 if metric["direction"] == "higher" else -1
    failed = [row["id"] for row in cases if name in (row.get("errors") or {})]
    ranked = []
    for row in cases:
        score = scores_of(row).get(name)
        if score is not None and not (metric["unit"] == "share" and sign * score >= 1):
            ranked.append((sign * score, row["id"]))
    return tuple([*failed, *(case for _, case in sorted(ranked))][:_WORST])


Asking = Literal["comparison", "quality"]
_AGAINST: dict[Asking, str] = {"comparison": "champion", "quality": "stable"}
_NAMED_CASES = 10


def verdicts_of(found: Comparison, asking: Asking) -> list[Verdict]:
    """All of them passed exactly when the comparison did."""
    verdicts = [Verdict.unjudged(asking, f"{asking}: {reason}") for reason in found.reasons]
    # Where something was not evaluated, too few cases are only what follows from it.
    judged = [one for one in found.deciding if not found.reasons or one.verdict != "too few cases"]
    verdicts += [_of_metric(metric, found, asking) for metric in judged]
    if not found.passed and all(verdict.passed for verdict in verdicts):
        verdicts.append(Verdict.unjudged(asking, f"{asking}: {found.verdict}"))
    return verdicts


def quality_report(found: Comparison) -> dict[str, Any]:
    """The file that the Job of the quality stage writes: verdicts, figures of the metrics that decide for `canary` and
    `stable`, and the whole comparison."""
    deciding = {metric.name: metric.judgement for metric in found.deciding}
    return {
        "verdicts": [verdict.model_dump(mode="json") for verdict in verdicts_of(found, "quality")],
        "figures": {
            "canary": {name: one.head for name, one in deciding.items()},
            "stable": {name: one.base for name, one in deciding.items()},
        },
        "comparison": found.as_dict(),
    }


def _of_metric(metric: MetricComparison, found: Comparison, asking: Asking) -> Verdict:
    one, unit, gate = metric.judgement, metric.unit, f"{asking}_{metric.name}"
    few = metric.verdict == "too few cases"
    shown = f"{metric.name} is {phrasing.figure(one.head, unit)} against {phrasing.figure(one.base, unit)}"
    shown += f" of {_AGAINST[asking]}"
    moved = "" if few else f", {phrasing.signed(one.difference, unit)}, {phrasing.interval(one, unit)}"
    certain = found.policy.of(metric.name).deterministic
    sureness = "" if certain else f" at confidence {found.policy.confidence:g}"
    limit = f"limit: not worse by {phrasing.figure(one.smallest, unit)} or more{sureness}"
    what = f"too few cases ({one.cases}); " if few else ""
    return Verdict(
        gate=gate,
        metric=metric.name,
        passed=metric.verdict != "worse" and not (few and metric.decides == "always"),
        figure=None if few else one.head,
        limit=one.smallest,
        reference=one.base,
        samples=one.cases,
        reason=f"gate {gate}: {what}{shown}{moved} over {one.cases} cases; {limit}",
        cases=metric.broken[:_NAMED_CASES],
    )
