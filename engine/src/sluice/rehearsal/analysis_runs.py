"""Runs the template of one analysis step against the services of a rehearsal, as a cluster would run its Job."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from sluice.rehearsal.load_job import LoadTargets, run_load
from sluice.rehearsal.quality_job import run_quality
from sluice.rehearsal.release_services import ReleaseService
from sluice.rehearsal.traefik_router import TraefikRouter
from sluice.rehearsal.visitors import Visit, VisitorTraffic
from sluice.release.verdict import Verdict
from sluice.rollout.analysis_templates import LoadParameters, QualityParameters
from sluice.rollout.canary_plan import AnalysisStep


@dataclass(frozen=True)
class AnalysisContext:
    """What is running."""

    router: TraefikRouter
    stable: ReleaseService
    canary: ReleaseService
    visitors: VisitorTraffic


@dataclass(frozen=True)
class AnalysisFiles:
    """The files that analyses read, and the folder `state` that they write to."""

    gates: Path
    questions: Path
    locustfile: Path
    state: Path


@dataclass(frozen=True)
class AnalysisResult:
    """`reason` is empty when the canary may go on. `metrics`: by side and name; `visits`: what the template's own
    visitors lived through."""

    reason: str
    verdicts: tuple[Verdict, ...]
    metrics: dict[str, dict[str, float | None]]
    visits: list[Visit] = field(default_factory=list)


def analyse(
    step: AnalysisStep, index: int, scene: AnalysisContext, setting: AnalysisFiles, watch: Callable[[], None]
) -> AnalysisResult:
    """Blocks until the analysis is over. `watch` may raise to end it early; SluiceError when it measured nothing."""
    if isinstance(step.parameters, QualityParameters):
        return _quality(step.parameters, f"quality-{index}", scene, setting, watch)
    return _load(step.parameters, f"load-{index}", scene, setting, watch)


def _quality(
    quality: QualityParameters, name: str, scene: AnalysisContext, setting: AnalysisFiles, watch: Callable[[], None]
) -> AnalysisResult:
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
    return AnalysisResult(report.reason, report.verdicts, {str(side): row for side, row in report.figures.items()})


def _load(
    load: LoadParameters, name: str, scene: AnalysisContext, setting: AnalysisFiles, watch: Callable[[], None]
) -> AnalysisResult:
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
    return AnalysisResult(
        report.reason, report.verdicts, metrics, [Visit(one.request_id, one.error) for one in report.visits]
    )
