"""Runs the template of one analysis step beside what a rehearsal has started, as a cluster would run its Job."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from sluice.rehearsal.load import LoadTargets, run_load
from sluice.rehearsal.quality_job import run_quality
from sluice.rehearsal.router import Router
from sluice.rehearsal.services import Service
from sluice.rehearsal.visitors import Visit, Visitors
from sluice.release.verdict import Verdict
from sluice.rollout.plan import Analysis
from sluice.rollout.templates import LoadParameters, QualityParameters


@dataclass(frozen=True)
class Scene:
    """What is running."""

    router: Router
    stable: Service
    canary: Service
    visitors: Visitors


@dataclass(frozen=True)
class Setting:
    """The files that analyses read, and the folder `state` that they write to."""

    gates: Path
    questions: Path
    locustfile: Path
    state: Path


@dataclass(frozen=True)
class Findings:
    """`reason` is empty when the canary may go on. `metrics`: by side and name; `visits`: what the template's own
    visitors lived through."""

    reason: str
    verdicts: tuple[Verdict, ...]
    metrics: dict[str, dict[str, float | None]]
    visits: list[Visit] = field(default_factory=list)


def analyse(step: Analysis, index: int, scene: Scene, setting: Setting, watch: Callable[[], None]) -> Findings:
    """Blocks until the analysis is over. `watch` may raise to end it early; SluiceError when it measured nothing."""
    if isinstance(step.parameters, QualityParameters):
        return _quality(step.parameters, f"quality-{index}", scene, setting, watch)
    return _load(step.parameters, f"load-{index}", scene, setting, watch)


def _quality(
    quality: QualityParameters, name: str, scene: Scene, setting: Setting, watch: Callable[[], None]
) -> Findings:
    report = run_quality(
        quality,
        canary=scene.canary.url,
        stable=scene.stable.url,
        name=name,
        questions=setting.questions,
        gates=setting.gates,
        state=setting.state,
        watch=watch,
    )
    return Findings(report.reason, report.verdicts, {str(side): row for side, row in report.figures.items()})


def _load(load: LoadParameters, name: str, scene: Scene, setting: Setting, watch: Callable[[], None]) -> Findings:
    with scene.visitors.away():
        report = run_load(
            load,
            LoadTargets(router=scene.router.url, canary=scene.canary.url, stable=scene.stable.url),
            name=name,
            locustfile=setting.locustfile,
            questions=setting.questions,
            gates=setting.gates,
            state=setting.state,
            watch=watch,
        )
    metrics = {str(side): report.targets[side] for side in ("canary", "stable")}
    return Findings(
        report.reason, report.verdicts, metrics, [Visit(one.request_id, one.error) for one in report.visits]
    )
