"""What the looks of a comparison cost and save: `.venv/bin/python engine/benchmarks/verdict_looks.py [COMPARISONS]`.

Simulates changes with pass/fail metrics and compares them by the policy of config/gates.yaml, once with its looks and
once with a single look at everything. Few resamples are enough: for pass and fail McNemar's exact test decides.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from sluice.evaluation.comparison_policy import ComparisonPolicy, LookPolicy, MetricPolicy, load_policy
from sluice.evaluation.registry import NamedMeasure
from sluice.evaluation.sequential import SequentialComparison

CASES = 270
NAMES = ("answer_key", "citation_correctness", "same_language", "groundedness")
# Base, head and how many answers differ on both sides: what a change does to `answer_key`; the others do not move.
CHANGES = {
    "nothing, same answers": (0.85, 0.85, 0.0),
    "nothing, other words": (0.85, 0.85, 0.06),
    "a little worse": (0.85, 0.75, 0.06),
    "worse": (0.85, 0.65, 0.06),
    "one-word answers": (0.85, 0.10, 0.0),
    "better": (0.70, 0.90, 0.06),
}


def sides(rng: np.random.Generator, change: tuple[float, float, float]) -> tuple[list[Any], list[Any]]:
    base, head, churn = change
    moved = {name: (base, head) if name == NAMES[0] else (0.9, 0.9) for name in NAMES}
    scores: dict[str, tuple[Any, Any]] = {}
    for name, (old, new) in moved.items():
        draw = rng.random(CASES)
        other = rng.random(CASES)
        broken, fixed = max(old - new, 0) + churn / 2, max(new - old, 0) + churn / 2
        was = draw < old
        scores[name] = was, np.where(was, other >= broken / old, other < fixed / (1 - old))

    def records(side: int) -> list[dict[str, Any]]:
        return [{"id": str(n), "scores": {name: float(scores[name][side][n]) for name in NAMES}} for n in range(CASES)]

    return records(0), records(1)


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    policy = load_policy(Path(__file__).parents[2] / "config" / "gates.yaml")
    metrics = {name: MetricPolicy(decides="always", smallest=policy.of(name).smallest) for name in NAMES}
    common = {"metrics": metrics, "resamples": 200, "slices": policy.slices.model_copy(update={"at_most": 0})}
    policies = {
        "looks": policy.model_copy(update=common),
        "one look": policy.model_copy(update={**common, "looks": (LookPolicy(share=1, alpha=1),)}),
    }
    measures = [NamedMeasure(name, "share", "higher", "mean") for name in NAMES]
    print(f"{runs} comparisons of {CASES} cases each\n{'change':<24} {'policy':<9} {'mean cases':>10}  verdicts")
    for change, figures in CHANGES.items():
        for name, chosen in policies.items():
            verdicts, asked = Counter[str](), 0
            for number in range(runs):
                found = walk(chosen, measures, *sides(np.random.default_rng(number), figures))
                verdicts[found.verdict] += 1
                asked += found.asked
            shown = ", ".join(f"{verdict} {count / runs:.1%}" for verdict, count in verdicts.most_common())
            print(f"{change:<24} {name:<9} {asked / runs:>10.0f}  {shown}", flush=True)


def walk(policy: ComparisonPolicy, measures: list[NamedMeasure], base: list[Any], head: list[Any]) -> Any:
    test = SequentialComparison(measures, policy, CASES)
    return next(found for look in test.looks if (found := test.look(base[:look], head[:look])))


if __name__ == "__main__":
    main()
