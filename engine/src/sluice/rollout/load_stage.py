"""One load stage: its parameters, everything it measured, and the verdict by config/gates.yaml.

Parameters come from the environment, so that a Kubernetes Job and the rehearsal start Locust in the same way.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sluice.core.atomic_files import read_jsonl, write_json
from sluice.core.errors import SluiceError
from sluice.release.gates import Gate, decide, load_gates
from sluice.release.verdict import Verdict
from sluice.rollout.analysis_templates import parse_duration
from sluice.rollout.load_measurements import SLOWDOWNS, RequestSample, figures_of, pairs_of, surely_above

# On a slow machine a stage may take this many times its duration to get the samples that the gates need, and at least
# so many seconds: one that a rehearsal makes short needs as many samples as a long one.
_PROLONGED, _AT_LEAST_SECONDS = 4, 120.0


def longest(seconds: float) -> float:
    """Seconds that a stage takes at most whose duration is `seconds`, without the answers in flight at its end."""
    return max(_PROLONGED * seconds, _AT_LEAST_SECONDS)


@dataclass
class LoadStage:
    """One load stage. `stable_release` is learnt from stable itself before the first user starts."""

    router: str
    canary: str
    stable: str
    gates: Path
    out: Path
    questions: list[str]
    users: int
    seconds: float
    shape: str
    answer_timeout: float
    # Where the services ask for keys; a rehearsal's do not.
    key: str = field(default="", repr=False)
    # Pairs that the gates need at least, and whether more would hardly change what they say: see `settled`.
    pairs_needed: int = 0
    settled: Callable[[LoadStage], bool] = lambda _: True
    stable_release: str = ""
    samples: list[RequestSample] = field(default_factory=list)

    @classmethod
    def from_environment(cls, env: Mapping[str, str] = os.environ) -> LoadStage:
        """Reads SLUICE_*; SluiceError for a variable that is missing or cannot be read."""

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
            gates=Path(need("GATES")),
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
        """Pairs of probes that both ended, well or not."""
        return sum(sample.pair is not None for sample in self.samples) // 2

    def over(self, elapsed: float) -> bool:
        """The planned time is up, and the gates have as many pairs as they need.

        A machine too slow for that, or so uneven that a canary would be stopped by chance, gets more time, as long as
        every probe is answered: good answers that come slowly are waited for, silence and errors are not. When that
        time is up, too few samples fail."""
        if elapsed < self.seconds:
            return False
        failed = any(sample.error for sample in self.samples if sample.pair is not None)
        enough = self.pairs >= self.pairs_needed and self.settled(self)
        return failed or enough or elapsed >= longest(self.seconds)


VERDICTS = "gates of the load stage:"


def settled(gates: Sequence[Gate], stage: LoadStage) -> bool:
    """Whether more pairs would hardly change the verdict: no gate fails only by a slowdown that may be chance."""
    figures = figures_of(stage.samples)
    failed = [one for one in decide(gates, "load", figures["canary"], figures["stable"]) if not one.passed]
    slow = [one for one in failed if one.metric in SLOWDOWNS]
    return not slow or len(slow) < len(failed) or any(surely_above(stage.samples, one) for one in slow)


def conclude(stage: LoadStage) -> list[Verdict]:
    """Writes SLUICE_LOAD_OUT; one verdict for each load gate."""
    figures = figures_of(stage.samples)
    verdicts = decide(load_gates(stage.gates), "load", figures["canary"], figures["stable"])
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
    """What the log of the stage ends with: a heading, and a line for each gate, those that failed last."""
    ordered = sorted(verdicts, key=lambda verdict: not verdict.passed)
    return [VERDICTS, *(f"{'passed' if one.passed else 'FAILED'}: {one.reason}" for one in ordered)]
