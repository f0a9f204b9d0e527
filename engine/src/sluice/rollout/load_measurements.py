"""Measurements for the gates from single requests of a load stage.

There are two kinds of requests. Visits go through the router: they are user traffic, and each failure is charged to the
release that answered. Probes go straight to stable and canary, the same question to both, in alternating order: only
complete pairs are timed, so that both were measured on the same questions in the same moments, whatever else the
machine was doing. `slowdown` uses that best: the ratio canary / stable is taken within each pair, then the median over
the pairs, so that neither long questions nor a busy minute of the machine weigh on one side only.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sluice.evaluation.summary import percentile
from sluice.release.gates import Measurement

Target = Literal["canary", "stable", "router"]
TARGETS: tuple[Target, ...] = ("canary", "stable", "router")
_CASES = 10


@dataclass(frozen=True)
class RequestSample:
    """One finished request. `release` is the release it is charged to; `pair` joins two probes, None for a visit.

    Several processes that probe have pairs of their own, so theirs have names in place of numbers.
    `error` is empty for a whole answer; times are None when they were never reached.
    """

    request_id: str
    release: Literal["canary", "stable"]
    pair: int | str | None
    error: str
    total_ms: float | None
    ttft_ms: float | None


def charge(header: str | None, *, stable: str) -> Literal["canary", "stable"]:
    """Whom a visit is charged to.

    Args:
        header: release id of the answer. One without it (no connection, an error page) counts against the canary,
            which is the one under suspicion.
        stable: release id of stable.
    """
    return "stable" if header is not None and header == stable else "canary"


def figures_of(samples: Sequence[RequestSample]) -> dict[Target, dict[str, Measurement]]:
    """error_rate, total_p50_ms, total_p95_ms, ttft_p50_ms, ttft_p95_ms and requests for canary, stable and router;
    total_slowdown and ttft_slowdown for the canary: the median over pairs of its time divided by stable's.

    canary and stable: errors over probes and visits, times over complete pairs of probes. router: over all visits.
    """
    whole = Counter(sample.pair for sample in samples if sample.pair is not None and not sample.error)
    paired = [sample for sample in samples if sample.pair is not None and whole[sample.pair] == 2]
    visits = [sample for sample in samples if sample.pair is None]
    found: dict[Target, dict[str, Measurement]] = {}
    for release in ("canary", "stable"):
        mine = [sample for sample in samples if sample.release == release]
        found[release] = _errors(mine) | _times([sample for sample in paired if sample.release == release])
    found["canary"] |= _slowdowns(samples)
    found["router"] = _errors(visits) | _times([sample for sample in visits if not sample.error])
    return found


def _errors(samples: Sequence[RequestSample]) -> dict[str, Measurement]:
    count = len(samples)
    errors = Counter(sample.error for sample in samples if sample.error)
    cases = tuple(f"{error} ({times} of {count})" for error, times in errors.most_common(_CASES))
    rate = errors.total() / count if count else None
    return {"error_rate": Measurement(rate, count, cases=cases), "requests": Measurement(float(count), count)}


def _times(samples: Sequence[RequestSample]) -> dict[str, Measurement]:
    found = {}
    for name in ("total", "ttft"):
        timed = [value for sample in samples if (value := getattr(sample, f"{name}_ms")) is not None]
        for suffix, share in (("p50", 0.50), ("p95", 0.95)):
            value = round(percentile(timed, share), 3) if timed else None
            found[f"{name}_{suffix}_ms"] = Measurement(value, len(timed))
    return found


def times_of_pairs(
    samples: Sequence[RequestSample], name: Literal["total", "ttft"] = "total"
) -> list[tuple[float, float]]:
    """(stable, canary) in milliseconds for each complete pair of probes, in the order in which they were asked."""
    times: dict[int | str, dict[str, float]] = {}
    for sample in samples:
        if sample.pair is not None and not sample.error and (value := getattr(sample, f"{name}_ms")):
            times.setdefault(sample.pair, {})[sample.release] = value
    return [(pair["stable"], pair["canary"]) for pair in times.values() if len(pair) == 2]


def _slowdowns(samples: Sequence[RequestSample]) -> dict[str, Measurement]:
    found = {}
    names: tuple[Literal["total", "ttft"], ...] = ("total", "ttft")
    for name in names:
        ratios = [canary / stable for stable, canary in times_of_pairs(samples, name)]
        value = round(statistics.median(ratios), 3) if ratios else None
        found[f"{name}_slowdown"] = Measurement(value, len(ratios))
    return found
