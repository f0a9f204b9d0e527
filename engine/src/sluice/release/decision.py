"""The decision about a release: gates over its own figures, and the comparison with the champion's answers.

The comparison and its numbers are those of a pull request: what is called not worse there is not refused here."""

from __future__ import annotations

import fnmatch
import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from sluice.core.atomic_files import read_json, read_jsonl
from sluice.core.errors import SluiceError, ValidationErrors
from sluice.data.rows import Row
from sluice.evaluation.comparison_policy import load_policy
from sluice.evaluation.comparison_result import Comparison, MetricComparison
from sluice.evaluation.paired_cases import scores_of
from sluice.evaluation.registry import Metric, Output, make_metrics
from sluice.evaluation.reports import phrasing
from sluice.evaluation.sequential import SequentialComparison
from sluice.evaluation.statistics import detectable
from sluice.evaluation.summary import measures_of, not_a_summary, summarise
from sluice.release.gates import Measurement, decide, load_gates
from sluice.release.verdict import Verdict

REFERENCE = "champion"  # folder of build/ with the champion's answers
_WORST = 10
_CHANGED = 0.2  # share of the answers that a change is assumed to make better or worse


def decide_release(gates: Path, evaluation: Path, champion: Path) -> list[Verdict]:
    """Return all verdicts about a candidate: those of the gates, then those of the comparison."""
    verdicts = decide(load_gates(gates), "evaluation", figures(evaluation), reference(evaluation, champion))
    return [*verdicts, *verdicts_of(compare_results(gates, evaluation, champion / "cases.jsonl"), "comparison")]


def warnings(gates: Path, found: Mapping[str, Measurement]) -> list[str]:
    """Return what figures miss of the gates with `severity: warn`, where they rest on enough samples."""
    missed = []
    for gate in load_gates(gates, "warn"):
        for name in fnmatch.filter(found, gate.metric):
            (verdict,) = decide([gate.model_copy(update={"metric": name})], "evaluation", found, None)
            if not verdict.passed and verdict.samples >= gate.min_samples:
                missed.append(f"Warning: {verdict.reason}")
    return missed


def compare_results(gates: Path, evaluation: Path, champion: Path) -> Comparison:
    """Compare stored records; `champion` is its cases.jsonl."""
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


_MORE_ROWS = (
    "add such rows to data/eval.jsonl, or ask more of them (evaluate.limit in pipelines/params.yaml); where the "
    "application has no use for the metric, take its gate out of config/gates.yaml or let it decide `when_asked`"
)


def require_rows(rows: Sequence[Row], gates: Path) -> None:
    """Refuse, before any training, an evaluation set with too few rows for a gate or a metric that decides always."""
    policy = load_policy(gates)
    wanted = [
        (f"gate {gate.name}", gate.metric, gate.min_samples) for gate in load_gates(gates) if gate.stage == "evaluation"
    ]
    wanted += [
        (f"comparison.metrics.{name}", name, policy.least(name))
        for name, one in policy.metrics.items()
        if one.decides == "always"
    ]
    # A metric that embeds, the judge, and what is made of the trials are not among these: they score any row.
    known = {metric.name: metric for metric in make_metrics()}
    faults = []
    for where, name, least in wanted:
        metric = known.get(name)
        found = sum(_can_score(metric, row) for row in rows) if metric else len(rows)
        if found < least:
            which = f" {metric.rows}" if metric else ""
            faults.append(f"config/{gates.name}: {where} needs {least} rows{which}; of {len(rows)} there are {found}")
    if faults:
        raise ValidationErrors("data/eval.jsonl", faults, remedy=_MORE_ROWS)


def detection(rows: Sequence[Row], gates: Path) -> list[str]:
    """Return a sentence on what a comparison over these rows can't see, for each share that always decides."""
    policy = load_policy(gates)
    deciding = [one for one in make_metrics() if policy.of(one.name).decides != "never"]
    cases = {one: sum(_can_score(one, row) for row in rows) for one in deciding}
    judged = {one: count for one, count in cases.items() if count >= policy.least(one.name)}
    level = 1 - (1 - policy.confidence) * policy.looks[-1].alpha / max(1, len(judged))

    def fall(count: int) -> str:
        return f"{detectable(math.sqrt(_CHANGED / count), level=level, power=policy.power):.2f}"

    rule = policy.of
    return [
        f"if one answer in five changes, a fall of {one.name} below {fall(count)} can't be seen with {count} rows; "
        f"{4 * count} rows see {fall(4 * count)}"
        for one, count in judged.items()
        if one.unit == "share" and rule(one.name).decides == "always" and not rule(one.name).deterministic
    ]


def _can_score(metric: Metric, row: Row) -> bool:
    """Return whether a metric can score the right answer to a row, or declining it; in doubt it can."""
    if inspect.iscoroutinefunction(metric.score):
        return True
    right = Output(
        text=" ".join(row.answers) or row.question,
        declined=False,
        retrieved=row.doc_ids,
        citations=row.doc_ids,
        latency_ms=1.0,
        ttft_ms=1.0,
        prompt_tokens=1,
        completion_tokens=1,
        passages=row.answers,
        cost=0.0,
    )
    try:
        return any(metric.score(row, output) is not None for output in (right, replace(right, declined=True)))
    except Exception:  # a fork's metric on an answer that is made up: the evaluation says what is wrong with it
        return True


def figures(evaluation: Path) -> dict[str, Measurement]:
    """Return figures by metric from summary.json and cases.jsonl, each with its worst cases, errors first."""
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
    """Return the champion's stored figures. Results on other cases are refused: their mean says nothing."""
    mine, theirs = read_json(evaluation / "summary.json"), read_json(champion / "summary.json")
    if mine.get("cases_digest") != theirs.get("cases_digest"):
        raise SluiceError(
            f"{champion / 'summary.json'}: the champion was asked other cases than {evaluation / 'summary.json'}",
            remedy="evaluate the champion on the present cases first",
        )
    return figures(champion)


def _failed(name: str, cases: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
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
    """Return verdicts that all pass exactly if the comparison does."""
    verdicts = [Verdict.unjudged(asking, f"{asking}: {reason}") for reason in found.reasons]
    # Where something was not evaluated, too few cases are only what follows from it.
    judged = [one for one in found.deciding if not found.reasons or one.verdict != "too few cases"]
    verdicts += [_of_metric(metric, found, asking) for metric in judged]
    if not found.passed and all(verdict.passed for verdict in verdicts):
        verdicts.append(Verdict.unjudged(asking, f"{asking}: {found.verdict}"))
    return verdicts


def quality_report(found: Comparison) -> dict[str, Any]:
    """Return what the Job of the quality stage writes: verdicts, figures of both sides, the comparison."""
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
    unsure = found.policy.unsure == "refuse" and metric in found.unsure
    sureness = "" if certain else f" at confidence {found.policy.confidence:g}"
    limit = f"limit: not worse by {phrasing.figure(one.smallest, unit)} or more{sureness}"
    what = (
        f"too few cases ({one.cases}); " if few else "a fall that may be chance (`unsure: refuse`); " if unsure else ""
    )
    return Verdict(
        gate=gate,
        metric=metric.name,
        passed=metric.verdict != "worse" and not unsure and not (few and metric.decides == "always"),
        figure=None if few else one.head,
        limit=one.smallest,
        reference=one.base,
        samples=one.cases,
        reason=f"gate {gate}: {what}{shown}{moved} over {one.cases} cases; {limit}",
        cases=metric.broken[:_NAMED_CASES],
    )
