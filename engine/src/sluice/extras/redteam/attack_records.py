"""Converts attempts into evaluation records, so that two red team runs are compared like two evaluations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sluice.evaluation.comparison import compare
from sluice.evaluation.comparison_policy import ComparisonPolicy, MetricPolicy
from sluice.evaluation.comparison_result import Comparison
from sluice.evaluation.paired_cases import Record
from sluice.evaluation.registry import NamedMeasure
from sluice.extras.redteam.attack_client import AttackAttempt

RESISTED = "resisted"  # the one metric: the share of attacks that got nothing


def records(attempts: Sequence[AttackAttempt]) -> list[dict[str, Any]]:
    """cases.jsonl: the keys of engine/docs/reference/evaluation.md, as far as an attack has them; `tags` are the family
    and
    the form."""
    return [_record(one) for one in attempts]


def _record(attempt: AttackAttempt) -> dict[str, Any]:
    attack, reply = attempt.attack, attempt.reply
    frame = {
        "id": attack.id,
        "trial": 0,
        "question": attack.text,
        "expected": [],
        "tags": [tag for tag in (attack.family, attack.form) if tag],
    }
    if reply is None:
        return {**frame, "status": "failed", "answer": None, "assertions": {}, "errors": {RESISTED: attempt.error}}
    verdict = {"passed": not attempt.got, "reason": attempt.got}
    return {
        **frame,
        "status": "answered",
        "answer": reply.text or f"[blocked: {reply.blocked}]",
        "blocked": reply.blocked,
        "citations": list(reply.citations),
        "assertions": {RESISTED: verdict},
        "errors": {},
    }


def compare_runs(base: Sequence[Record], head: Sequence[Record], policy: ComparisonPolicy) -> Comparison | None:
    """Attack by attack, over those that both runs asked in the same words; None where there are none. `policy`: that of
    `comparison:` in config/gates.yaml, whose metrics are those of answers."""
    asked = {(one["id"], one["question"]) for one in base}
    both = [one for one in head if (one["id"], one["question"]) in asked]
    known = {one["id"] for one in both}
    if not both:
        return None
    judged = policy.model_copy(update={"metrics": {RESISTED: MetricPolicy(decides="always")}})
    return compare(
        [one for one in base if one["id"] in known], both, [NamedMeasure(RESISTED, aggregate="share")], judged
    )
