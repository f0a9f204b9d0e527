"""rehearsal.json: the steps and the verdict of a rehearsal. engine/docs/architecture.md describes the file."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sluice.core.settings import Settings
from sluice.release.verdict import Verdict

Outcome = Literal["passed", "failed"]


class StepRecord(Settings):
    """One step that was walked; `weight` is the canary's percentage after it, `started_s` counts from the start.
    `template`: of an analysis."""

    index: int
    kind: Literal["setWeight", "setCanaryScale", "pause", "analysis"]
    template: str = ""
    weight: int
    started_s: float
    seconds: float
    verdict: Outcome
    reason: str = ""
    gates: tuple[Verdict, ...] = ()
    metrics: dict[str, dict[str, float | None]] = Field(default_factory=dict)


class TrafficRecord(Settings):
    """Results of the visitor traffic. `to_canary`: requests that the router sent to the canary; others went to stable;
    `failed_outside_canary` are failures of those others; `failures` counts all of them by who answered and by cause."""

    requests: int
    to_canary: int
    failed: int
    failed_outside_canary: int
    failures: dict[str, int] = Field(default_factory=dict)


class Rehearsal(Settings):
    """The whole file. `weights` are pairs of seconds and percent."""

    release: str
    stable: str
    time_scale: float
    steps: tuple[StepRecord, ...]
    weights: tuple[tuple[float, int], ...]
    traffic: TrafficRecord
    verdict: Outcome
    reason: str

    @property
    def passed(self) -> bool:
        return self.verdict == "passed"
