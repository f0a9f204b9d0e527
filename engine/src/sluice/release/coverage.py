"""Whether the evaluation set has the rows that gates and comparison ask for: told in seconds, before any training.

A gate with too few samples fails, and a comparison with too few cases of a metric that decides always has no verdict.
Both would come out when training and evaluation are done. `sluice data check` calls `require_rows`.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sluice.core.errors import ValidationErrors
from sluice.data.rows import Row
from sluice.evaluation.comparison_policy import load_policy
from sluice.evaluation.registry import Metric, Output, make_metrics
from sluice.release.gates import load_gates

_REMEDY = (
    "add such rows to data/eval.jsonl, or ask more of them (evaluate.limit in pipelines/params.yaml); where the "
    "application has no use for the metric, take its gate out of config/gates.yaml or let it decide `when_asked`"
)


def require_rows(rows: Sequence[Row], gates: Path) -> None:
    """Refuses an evaluation set with too few rows for a gate or for a metric that decides always."""
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
        found = sum(can_score(metric, row) for row in rows) if metric else len(rows)
        if found < least:
            which = f" {metric.rows}" if metric else ""
            faults.append(f"config/{gates.name}: {where} needs {least} rows{which}; of {len(rows)} there are {found}")
    if faults:
        raise ValidationErrors("data/eval.jsonl", faults, remedy=_REMEDY)


def can_score(metric: Metric, row: Row) -> bool:
    """Whether a metric has something to say about the right answer to a row, or about declining it. One that has to be
    waited for, or crashes, is not found out here."""
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
