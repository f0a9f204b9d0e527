"""Distribution shift between two samples: a significance test and an effect size.

Numbers by the Kolmogorov-Smirnov test, categories by the chi-squared test, both of scipy, which is imported inside. The
size is the population stability index (PSI): the sum of (head - base) ln(head / base) over bins. The thresholds are in
config/gates.yaml.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from sluice.core.settings import Settings, load_settings

_BINS = 10
_MOST_CATEGORIES = 40
# A chi-squared test needs about this many expected in each cell (Cochran 1954); rarer categories are taken together.
_EXPECTED = 5.0
OTHER = "(other)"


class ShiftPolicy(Settings):
    """`drift:` of config/gates.yaml. Two distributions have shifted when the test says so (probability below
    `p_value`) and the difference is large enough to matter (`psi` and more). Fewer than `min_samples` on either side
    are too few to say."""

    p_value: float = Field(gt=0, lt=0.5)
    psi: float = Field(gt=0)
    min_samples: int = Field(ge=5)


class _GatesFile(Settings):
    """config/gates.yaml as it is read here; the rest is read by release/gates.py and
    evaluation/comparison_policy.py."""

    gates: Any = None
    comparison: Any = None
    drift: ShiftPolicy


def load_shift_policy(path: Path) -> ShiftPolicy:
    """Reads config/gates.yaml; all faults are raised at once, with their lines."""
    return load_settings(path, _GatesFile).drift


@dataclass(frozen=True)
class DistributionShift:
    """One comparison. `p`: probability of a difference as large by chance; `bins`: (label, share of base, share of
    head); `base`, `head`: means of numbers, None of categories."""

    name: str
    test: Literal["KS", "chi-squared"]
    statistic: float
    p: float
    psi: float
    base_samples: int
    head_samples: int
    bins: tuple[tuple[str, float, float], ...]
    base: float | None = None
    head: float | None = None
    higher_is_fine: bool = False

    def verdict(self, policy: ShiftPolicy) -> Literal["shifted", "steady", "too few"]:
        if min(self.base_samples, self.head_samples) < policy.min_samples:
            return "too few"
        if self.higher_is_fine and self.base is not None and self.head is not None and self.head >= self.base:
            return "steady"
        return "shifted" if self.p < policy.p_value and self.psi >= policy.psi else "steady"

    def as_dict(self, policy: ShiftPolicy) -> dict[str, Any]:
        """JSON-able."""
        return {
            "name": self.name,
            "verdict": self.verdict(policy),
            "test": self.test,
            "statistic": round(self.statistic, 4),
            "p": float(f"{self.p:.3g}"),
            "psi": round(self.psi, 4),
            "samples": [self.base_samples, self.head_samples],
            "means": None if self.base is None or self.head is None else [round(self.base, 3), round(self.head, 3)],
        }


def of_numbers(
    name: str, base: Sequence[float], head: Sequence[float], *, higher_is_fine: bool = False
) -> DistributionShift | None:
    """Two samples of numbers; bins are the tenths of the base.

    Args:
        name: Of the distribution, for people.
        base: Numbers of the base.
        head: Numbers that are compared with them.
        higher_is_fine: Only a fall of the mean can be a shift.

    Returns:
        None when one of the samples is empty.
    """
    if not base or not head:
        return None
    from scipy.stats import ks_2samp

    old, new = np.asarray(base, float), np.asarray(head, float)
    tested = ks_2samp(old, new)
    edges = np.unique(np.quantile(old, np.linspace(0, 1, _BINS + 1)[1:-1]))
    # A value that is an edge belongs to the bin below it, so that a base of one value has two bins.
    counts = [np.bincount(np.searchsorted(edges, side, side="left"), minlength=len(edges) + 1) for side in (old, new)]
    labels = _labels([float(edge) for edge in edges])
    return DistributionShift(
        name,
        "KS",
        float(tested.statistic),
        float(tested.pvalue),
        psi([int(n) for n in counts[0]], [int(n) for n in counts[1]]),
        len(old),
        len(new),
        tuple((label, float(a / len(old)), float(b / len(new))) for label, a, b in zip(labels, *counts, strict=True)),
        float(old.mean()),
        float(new.mean()),
        higher_is_fine,
    )


def _labels(edges: Sequence[float]) -> list[str]:
    if not edges:
        return ["all"]
    shown = [f"{edge:.3g}" if abs(edge) < 1000 else f"{edge:,.0f}" for edge in edges]
    return [f"≤{shown[0]}", *(f"{low}–{high}" for low, high in pairwise(shown)), f">{shown[-1]}"]


def of_categories(name: str, base: Mapping[str, int], head: Mapping[str, int]) -> DistributionShift | None:
    """Two counts of categories.

    Args:
        name: Of the distribution, for people.
        base: Category to its count.
        head: The same of what is compared.

    Returns:
        None when one of them is empty.
    """
    totals = sum(base.values()), sum(head.values())
    if not all(totals):
        return None
    old, new = _pooled(base, head)
    labels = list(old)
    if len(labels) == 1:
        return DistributionShift(name, "chi-squared", 0.0, 1.0, 0.0, *totals, ((labels[0], 1.0, 1.0),))
    from scipy.stats import chi2_contingency

    tested = chi2_contingency([[old[label] for label in labels], [new[label] for label in labels]])
    return DistributionShift(
        name,
        "chi-squared",
        float(tested.statistic),
        float(tested.pvalue),
        psi(list(old.values()), list(new.values())),
        *totals,
        tuple((label, old[label] / totals[0], new[label] / totals[1]) for label in labels),
    )


def _pooled(base: Mapping[str, int], head: Mapping[str, int]) -> tuple[dict[str, int], dict[str, int]]:
    """Both over the same categories, the commonest first; those that would expect too few are taken together."""
    both = Counter(base) + Counter(head)
    share = min(sum(base.values()), sum(head.values())) / sum(both.values())
    kept = [label for label, count in both.most_common(_MOST_CATEGORIES) if count * share >= _EXPECTED]
    old = {label: base.get(label, 0) for label in kept}
    new = {label: head.get(label, 0) for label in kept}
    rest = sum(base.values()) - sum(old.values()), sum(head.values()) - sum(new.values())
    if any(rest) or not kept:
        old[OTHER], new[OTHER] = rest
    return old, new


def psi(base: Sequence[int], head: Sequence[int]) -> float:
    """The population stability index of two rows of counts over the same bins. Half a case is added to each bin, so
    that one which is empty on one side does not make it infinite."""
    old = [(count + 0.5) / (sum(base) + 0.5 * len(base)) for count in base]
    new = [(count + 0.5) / (sum(head) + 0.5 * len(head)) for count in head]
    return sum((b - a) * math.log(b / a) for a, b in zip(old, new, strict=True))
