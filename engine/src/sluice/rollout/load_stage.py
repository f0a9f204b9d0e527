"""One load stage: its parameters, its samples, and the verdict by config/gates.yaml.

Visits go through the router, and each failure is charged to the release that answered. Probes send the same question
to stable and canary; only complete pairs are timed. A slowdown is the median of the ratios within pairs, with
stable's time scaled to the canary's length.
"""

from __future__ import annotations

import math
import os
import random
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sluice.core.atomic_files import read_jsonl, write_json
from sluice.core.errors import SluiceError
from sluice.evaluation.summary import percentile
from sluice.release.gates import Gate, Measurement, decide, load_gates
from sluice.release.verdict import Verdict
from sluice.rollout.analysis_templates import parse_duration

# On a slow machine a stage may take this many times its duration to get the samples that the gates need, and at least
# so many seconds: one that a rehearsal makes short needs as many samples as a long one.
_PROLONGED, _AT_LEAST_SECONDS = 4, 120.0
VERDICTS = "gates of the load stage:"
Target = Literal["canary", "stable", "router"]
# Of the canary, against stable.
SLOWDOWNS = ("total_slowdown", "ttft_slowdown", "total_p95_slowdown")
_CASES = 10


@dataclass(frozen=True)
class RequestSample:
    """One finished request. `pair` joins two probes (None for a visit); lengths are in characters."""

    request_id: str
    release: Literal["canary", "stable"]
    pair: int | str | None
    error: str
    total_ms: float | None
    ttft_ms: float | None
    total_length: int = 0
    ttft_length: int = 0


def charge(header: str | None, *, stable: str) -> Literal["canary", "stable"]:
    """Return the release that a visit is charged to.

    Args:
        header: release id of the answer. One without it (no connection, an error page) counts against the canary,
            which is the one under suspicion.
        stable: release id of stable.
    """
    return "stable" if header is not None and header == stable else "canary"


def figures_of(samples: Sequence[RequestSample]) -> dict[Target, dict[str, Measurement]]:
    """Return the figures of canary, stable and router; slowdowns are the canary's.

    Errors count probes and visits, times are of complete pairs; the router's are of all visits."""
    pairs = pairs_of(samples)
    visits = [sample for sample in samples if sample.pair is None]
    found: dict[Target, dict[str, Measurement]] = {}
    for release in ("canary", "stable"):
        mine = [sample for sample in samples if sample.release == release]
        found[release] = _errors(mine) | _times([one for pair in pairs for one in pair if one.release == release])
    found["canary"] |= _slowdowns(pairs)
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


def pairs_of(samples: Sequence[RequestSample]) -> list[tuple[RequestSample, RequestSample]]:
    """Return (stable, canary) for each complete pair of probes."""
    pairs: dict[int | str, dict[str, RequestSample]] = {}
    for sample in samples:
        if sample.pair is not None and not sample.error and sample.total_ms and sample.ttft_ms:
            pairs.setdefault(sample.pair, {})[sample.release] = sample
    return [(pair["stable"], pair["canary"]) for pair in pairs.values() if len(pair) == 2]


def _slowdowns(pairs: Sequence[tuple[RequestSample, RequestSample]]) -> dict[str, Measurement]:
    total, ttft = _times_beside(pairs, "total"), _times_beside(pairs, "ttft")
    p95 = [percentile(side, 0.95) for side in zip(*total, strict=True)]
    values = [statistics.median(mine / other for mine, other in one) if one else None for one in (total, ttft)]
    found = zip(SLOWDOWNS, (*values, p95[0] / p95[1] if p95 else None), strict=True)
    return {name: Measurement(None if value is None else round(value, 3), len(pairs)) for name, value in found}


def surely_above(samples: Sequence[RequestSample], verdict: Verdict) -> bool:
    """Check by a binomial test at 5 % that more pairs exceed a limit than its median's or p95's share explains."""
    name, _, p95 = verdict.metric.removesuffix("_slowdown").partition("_")
    times, chance = _times_beside(pairs_of(samples), name), 0.05 if p95 else 0.5
    count, above = len(times), sum(mine > (verdict.limit or 0) * other for mine, other in times)
    tail = (math.comb(count, k) * chance**k * (1 - chance) ** (count - k) for k in range(above, count + 1))
    return sum(tail) <= 0.05


def _times_beside(pairs: Sequence[tuple[RequestSample, RequestSample]], name: str) -> list[tuple[float, float]]:
    """Return milliseconds of the canary, and of stable for an answer as long."""
    # Milliseconds in which stable writes a character; 0 if all its answers come in one piece: then it is not known.
    later = [(one.total_ms or 0, one.ttft_ms or 0, one.total_length - one.ttft_length) for one, _ in pairs]
    pace = statistics.median([(total - first) / length for total, first, length in later if length > 0] or [0.0])
    return [(getattr(canary, f"{name}_ms"), _as_long(stable, canary, name, pace)) for stable, canary in pairs]


def _as_long(stable: RequestSample, canary: RequestSample, name: str, pace: float) -> Any:
    time = getattr(stable, f"{name}_ms")
    length, other = getattr(stable, f"{name}_length"), getattr(canary, f"{name}_length")
    # A part of the time is reading the question, so time falls by less than the length does.
    return max(time + (other - length) * pace, time * min(1.0, other / length if length else 1.0))


def longest(seconds: float) -> float:
    """Return the seconds that a stage takes at most, without answers in flight at its end."""
    return max(_PROLONGED * seconds, _AT_LEAST_SECONDS)


@dataclass
class LoadStage:
    """One load stage. `stable_release` is learnt from stable itself before the first user starts."""

    router: str
    canary: str
    stable: str
    gates: Sequence[Gate]
    out: Path
    questions: list[str]
    users: int
    seconds: float
    shape: str
    answer_timeout: float
    # Where the services ask for keys; a rehearsal's do not.
    key: str = field(default="", repr=False)
    stable_release: str = ""
    samples: list[RequestSample] = field(default_factory=list)

    @classmethod
    def from_environment(cls, env: Mapping[str, str] = os.environ) -> LoadStage:
        """Read SLUICE_*; SluiceError for a variable that is missing or unreadable."""

        def need(name: str) -> str:
            if not (value := env.get(f"SLUICE_{name}")):
                raise SluiceError(f"SLUICE_{name} is not set", remedy="engine/docs/reference/rollout.md lists them")
            return value

        try:
            users = int(need("LOAD_USERS"))
            seconds, timeout = parse_duration(need("LOAD_DURATION")), parse_duration(need("LOAD_TIMEOUT"))
        except ValueError as error:
            raise SluiceError(f"SLUICE_LOAD_USERS, SLUICE_LOAD_DURATION, SLUICE_LOAD_TIMEOUT: {error}") from None
        path = Path(need("QUESTIONS"))
        questions = [str(row["question"]) for row in read_jsonl(path) if row.get("question")]
        if not questions:
            raise SluiceError(f"{path}: no row has a question")
        return cls(
            router=need("ROUTER_URL"),
            canary=need("CANARY_URL"),
            stable=need("STABLE_URL"),
            gates=[gate for gate in load_gates(Path(need("GATES"))) if gate.stage == "load"],
            out=Path(need("LOAD_OUT")),
            questions=questions,
            users=users,
            seconds=seconds,
            shape=need("LOAD_SHAPE"),
            answer_timeout=timeout,
            key=env.get("SLUICE_LOAD_KEY", ""),
        )

    def question(self) -> str:
        return random.choice(self.questions)

    @property
    def pairs(self) -> int:
        """The pairs of probes that both ended, well or not."""
        return sum(sample.pair is not None for sample in self.samples) // 2

    def over(self, elapsed: float) -> bool:
        """Check that the time is up and the gates have the pairs they need.

        A slow or uneven machine gets more time, as long as every probe is answered."""
        if elapsed < self.seconds:
            return False
        failed = any(sample.error for sample in self.samples if sample.pair is not None)
        enough = self.pairs >= max((gate.min_samples for gate in self.gates), default=0)
        return failed or elapsed >= longest(self.seconds) or (enough and self._settled())

    def _settled(self) -> bool:
        """Check that no gate fails only by a slowdown that may be chance."""
        failed = [one for one in self.verdicts() if not one.passed]
        slow = [one for one in failed if one.metric in SLOWDOWNS]
        return not slow or len(slow) < len(failed) or any(surely_above(self.samples, one) for one in slow)

    def verdicts(self) -> list[Verdict]:
        figures = figures_of(self.samples)
        return decide(self.gates, "load", figures["canary"], figures["stable"])


def conclude(stage: LoadStage) -> list[Verdict]:
    """Write SLUICE_LOAD_OUT and return a verdict for each load gate."""
    figures, verdicts = figures_of(stage.samples), stage.verdicts()
    visits = [sample for sample in stage.samples if sample.pair is None]
    document: dict[str, Any] = {
        "targets": {target: {name: figure.value for name, figure in row.items()} for target, row in figures.items()},
        "samples": {target: {name: figure.samples for name, figure in row.items()} for target, row in figures.items()},
        "verdicts": [verdict.model_dump(mode="json") for verdict in verdicts],
        "visits": [
            {"request_id": visit.request_id, "release": visit.release, "error": visit.error} for visit in visits
        ],
        "pairs": [(stable.total_ms, canary.total_ms) for stable, canary in pairs_of(stage.samples)],
    }
    write_json(stage.out, document)
    return verdicts


def lines(verdicts: Sequence[Verdict]) -> list[str]:
    """Return the end of the stage's log: a heading and a line for each gate, failures last."""
    ordered = sorted(verdicts, key=lambda verdict: not verdict.passed)
    return [VERDICTS, *(f"{'passed' if one.passed else 'FAILED'}: {one.reason}" for one in ordered)]
