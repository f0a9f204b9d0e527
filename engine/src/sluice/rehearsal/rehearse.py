"""Walks the canary plan on this machine with real processes: two releases, Traefik, Locust and constant visitors.

A canary that fails a step or dies gets no more visitors, is drained and stopped. Every exit ends every process; one
that survives a `kill -9` of this one is ended by the kernel or by sluice.core.processes.reap.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import Field

from sluice.core.atomic_files import read_jsonl, write_json
from sluice.core.errors import SluiceError
from sluice.core.settings import Settings
from sluice.rehearsal.analysis_runs import AnalysisContext, AnalysisReport, JobFiles, analyse
from sluice.rehearsal.services import ReleaseService, ReleaseServiceSpec, TraefikRouter
from sluice.rehearsal.visitors import TrafficRecord, Visit, VisitorTraffic, count
from sluice.release.verdict import Verdict
from sluice.rollout.canary_plan import AnalysisStep, CanaryPlan, PauseStep, SetWeight, Step

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


@dataclass
class _RehearsalRun:
    plan: CanaryPlan
    setting: JobFiles
    on_event: Callable[[RehearsalProgress], None]
    records: list[StepRecord] = field(default_factory=list)
    weights: list[tuple[float, int]] = field(default_factory=list)
    visits: list[Visit] = field(default_factory=list)
    served_by: dict[str, str] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)
    done: float = 0.0  # planned seconds
    doing: str = ""

    def run(self, stable_spec: ReleaseServiceSpec, canary_spec: ReleaseServiceSpec, questions: list[str]) -> str:
        """Return why the canary was stopped, empty if it passed."""
        with ExitStack() as started:
            self._say(f"starting stable {stable_spec.release} and canary {canary_spec.release}")
            stable = self._start("stable", stable_spec, started)
            canary = self._start("canary", canary_spec, started)
            stable.wait_ready()
            router = TraefikRouter(stable=stable.url, canary=canary.url, state=self.setting.state)
            started.enter_context(router)
            self._weigh(router, 0)
            analyses = (step for step in self.plan.steps if isinstance(step, AnalysisStep))
            patience = min((step.parameters.answer_timeout_s for step in analyses), default=60.0)
            with VisitorTraffic(router.url, questions, timeout=patience) as visitors:
                reason = self._judge(AnalysisContext(router, stable, canary, visitors))
                self._say(f"canary stopped: {reason}" if reason else "every step held")
                self._weigh(router, 0 if reason else 100)
                time.sleep(_HANDOVER_SECONDS)
                (canary if reason else stable).stop()
                time.sleep(_SETTLE_SECONDS)
            self.visits += visitors.visits
            router.stop()
            self.served_by = router.served_by()
        return reason

    def _judge(self, scene: AnalysisContext) -> str:
        try:
            scene.canary.wait_ready()
            failed = (self._take(index, step, scene) for index, step in enumerate(self.plan.steps))
            return next(filter(None, failed), "")
        except SluiceError as error:
            # The canary died or a stage could not measure: no evidence for the canary, so it does not go on.
            scene.stable.require_running()
            return error.message

    def _take(self, index: int, step: Step, scene: AnalysisContext) -> str:
        started = time.monotonic()
        reason, report = "", AnalysisReport(verdicts=())
        try:
            if isinstance(step, SetWeight):
                self._say(f"{step.weight} % of visitors go to the canary")
                self._weigh(scene.router, step.weight)
            elif isinstance(step, PauseStep):
                self._say(f"watching for {step.seconds:.0f} s")
                end, watch = time.monotonic() + step.seconds, self._watching(step, scene)
                while (left := end - time.monotonic()) > 0:
                    watch()
                    time.sleep(min(0.2, left))
            elif isinstance(step, AnalysisStep):
                self._say(f"{step.template} stage at {scene.router.weight} %")
                report = analyse(step, index, scene, self.setting, self._watching(step, scene))
                reason = report.reason
                self.visits += report.visits
        except SluiceError as error:
            reason = error.message
            raise
        finally:
            record = StepRecord(
                index=index,
                kind=step.kind,
                template=step.template if isinstance(step, AnalysisStep) else "",
                weight=scene.router.weight,
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

    def _watching(self, step: Step, scene: AnalysisContext) -> Callable[[], None]:
        """Return a check to call a few times a second: both releases are alive, and people see time pass."""
        began = time.monotonic()

        def watch() -> None:
            scene.stable.require_running()
            scene.canary.require_running()
            done = self.done + min(time.monotonic() - began, step.seconds)
            self.on_event(RehearsalProgress(self.doing, done / self.plan.seconds, news=False))

        return watch

    def _weigh(self, router: TraefikRouter, percent: int) -> None:
        router.set_weight(percent)
        self.weights.append((round(time.monotonic() - self.began, 3), percent))

    def _say(self, text: str) -> None:
        self.doing = text
        self.on_event(RehearsalProgress(text, self.done / self.plan.seconds))

    def _start(self, role: str, spec: ReleaseServiceSpec, started: ExitStack) -> ReleaseService:
        service = ReleaseService(role, spec, state=self.setting.state)
        started.callback(service.stop)
        return service
