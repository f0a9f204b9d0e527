"""Walks the canary plan on this machine with real processes: two releases, Traefik, Locust and constant visitors.

A canary that fails a step or dies gets no more visitors, is drained and stopped. Every exit ends every process; one
that survives a `kill -9` of this one is ended by the kernel or by sluice.core.processes.reap.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field

from sluice.core.atomic_files import read_jsonl, write_json
from sluice.core.errors import SluiceError
from sluice.core.settings import Settings
from sluice.rehearsal.analysis_runs import AnalysisReport, JobFiles, JobTargets, analyse
from sluice.rehearsal.services import ReleaseService, ReleaseServiceSpec, TraefikRouter
from sluice.rehearsal.visitors import TrafficRecord, Visit, VisitorTraffic, count
from sluice.release.verdict import Verdict
from sluice.rollout.canary_plan import CanaryPlan, Step

# After the last change of weights visitors go on for a moment, so that what the change did to them is seen.
_SETTLE_SECONDS = 1.5
# New requests have left a release when the router says so; this is for the ones it has just passed on.
_HANDOVER_SECONDS = 0.3


class StepRecord(Settings):
    """One step; `weight` is the canary's percentage after it, `started_s` counts from the start."""

    index: int
    kind: Literal["setWeight", "setCanaryScale", "pause", "analysis"]
    template: str = ""
    weight: int
    started_s: float
    seconds: float
    verdict: Literal["passed", "failed"]
    reason: str = ""
    gates: tuple[Verdict, ...] = ()
    metrics: dict[str, dict[str, float | None]] = Field(default_factory=dict)


class Rehearsal(Settings):
    """The file rehearsal.json, which engine/docs/architecture.md describes. `weights`: pairs of seconds and percent."""

    release: str
    stable: str
    time_scale: float
    steps: tuple[StepRecord, ...]
    weights: tuple[tuple[float, int], ...]
    traffic: TrafficRecord
    verdict: Literal["passed", "failed"]
    reason: str

    @property
    def passed(self) -> bool:
        return self.verdict == "passed"


@dataclass(frozen=True)
class RehearsalProgress:
    """Progress for people. `fraction` is of the planned time; `news` is False if only time has gone by."""

    text: str
    fraction: float
    news: bool = True


def rehearse(
    plan: CanaryPlan,
    *,
    stable: ReleaseServiceSpec,
    canary: ReleaseServiceSpec,
    files: JobFiles,
    out: Path,
    time_scale: float = 1.0,
    cases: int = 0,
    on_event: Callable[[RehearsalProgress], None] = lambda _: None,
) -> Rehearsal:
    """Walk a plan. A canary that doesn't start, dies, or fails a step fails the rehearsal."""
    if time_scale <= 0:
        raise SluiceError(f"the time scale must be above 0, found {time_scale:g}")
    asked = [str(row["question"]) for row in read_jsonl(files.questions) if row.get("question")]
    if not asked:
        raise SluiceError(f"{files.questions}: no row has a question")
    walk = _RehearsalRun(plan.fitted(time_scale=time_scale, cases=cases), files, on_event)
    reason = walk.run(stable, canary, asked)
    result = Rehearsal(
        release=canary.release,
        stable=stable.release,
        time_scale=time_scale,
        steps=tuple(walk.records),
        weights=tuple(walk.weights),
        traffic=count(walk.visits, walk.served_by),
        verdict="failed" if reason else "passed",
        reason=reason,
    )
    write_json(out, result.model_dump(mode="json"))
    return result


class _RehearsalRun:
    def __init__(self, plan: CanaryPlan, files: JobFiles, on_event: Callable[[RehearsalProgress], None]) -> None:
        self.plan, self.files, self.on_event = plan, files, on_event
        self.records: list[StepRecord] = []
        self.weights: list[tuple[float, int]] = []
        self.visits: list[Visit] = []
        self.served_by: dict[str, str] = {}
        self.began = time.monotonic()
        self.done = 0.0  # planned seconds
        self.doing = ""

    def run(self, stable: ReleaseServiceSpec, canary: ReleaseServiceSpec, questions: list[str]) -> str:
        """Return why the canary was stopped, empty if it passed."""
        with ExitStack() as started:
            self._say(f"starting stable {stable.release} and canary {canary.release}")
            self.stable = self._start("stable", stable, started)
            self.canary = self._start("canary", canary, started)
            self.stable.wait_ready()
            self.router = TraefikRouter(stable=self.stable.url, canary=self.canary.url, state=self.files.state)
            started.enter_context(self.router)
            self._weigh(0)
            patience = min((one.parameters.answer_timeout_s for one in self.plan.steps if one.parameters), default=60.0)
            with VisitorTraffic(self.router.url, questions, timeout=patience) as self.visitors:
                reason = self._judge()
                self._say(f"canary stopped: {reason}" if reason else "every step held")
                self._weigh(0 if reason else 100)
                time.sleep(_HANDOVER_SECONDS)
                (self.canary if reason else self.stable).stop()
                time.sleep(_SETTLE_SECONDS)
            self.visits += self.visitors.visits
            self.router.stop()
            self.served_by = self.router.served_by()
        return reason

    def _judge(self) -> str:
        try:
            self.canary.wait_ready()
            failed = (self._take(index, step) for index, step in enumerate(self.plan.steps))
            return next(filter(None, failed), "")
        except SluiceError as error:
            # The canary died or a stage could not measure: no evidence for the canary, so it does not go on.
            self.stable.require_running()
            return error.message

    def _take(self, index: int, step: Step) -> str:
        started = time.monotonic()
        reason, report = "", AnalysisReport(verdicts=())
        try:
            if step.weight is not None:
                self._say(f"{step.weight} % of visitors go to the canary")
                self._weigh(step.weight)
            elif step.only_in_cluster:
                self._say(f"left out, only in a cluster: {step.only_in_cluster}")
            elif step.kind == "pause":
                self._say(f"watching for {step.seconds:.0f} s")
                end, watch = time.monotonic() + step.seconds, self._watching(step)
                while (left := end - time.monotonic()) > 0:
                    watch()
                    time.sleep(min(0.2, left))
            elif step.parameters:
                self._say(f"{step.template} stage at {self.router.weight} %")
                targets = JobTargets(router=self.router.url, canary=self.canary.url, stable=self.stable.url)
                # A load stage brings visitors of its own.
                with self.visitors.away() if step.template == "load" else nullcontext():
                    name = f"{step.template}-{index}"
                    report = analyse(step.parameters, name, targets, self.files, self._watching(step))
                reason = report.reason
                self.visits += report.visits
        except SluiceError as error:
            reason = error.message
            raise
        finally:
            record = StepRecord(
                index=index,
                kind=step.kind,
                template=step.template,
                weight=self.router.weight,
                started_s=round(started - self.began, 3),
                seconds=round(time.monotonic() - started, 3),
                verdict="failed" if reason else "passed",
                reason=reason,
                gates=report.verdicts,
                metrics={side: row for side, row in report.figures.items() if side != "router"},
            )
            self.records.append(record)
        self.done += step.seconds
        return reason

    def _watching(self, step: Step) -> Callable[[], None]:
        """Return a check to call a few times a second: both releases are alive, and people see time pass."""
        began = time.monotonic()

        def watch() -> None:
            self.stable.require_running()
            self.canary.require_running()
            done = self.done + min(time.monotonic() - began, step.seconds)
            self.on_event(RehearsalProgress(self.doing, done / self.plan.seconds, news=False))

        return watch

    def _weigh(self, percent: int) -> None:
        self.router.set_weight(percent)
        self.weights.append((round(time.monotonic() - self.began, 3), percent))

    def _say(self, text: str) -> None:
        self.doing = text
        self.on_event(RehearsalProgress(text, self.done / self.plan.seconds))

    def _start(self, role: str, spec: ReleaseServiceSpec, started: ExitStack) -> ReleaseService:
        service = ReleaseService(role, spec, state=self.files.state)
        started.callback(service.stop)
        return service
