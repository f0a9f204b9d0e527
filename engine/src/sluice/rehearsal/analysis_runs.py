"""Runs the template of one analysis step against the services of a rehearsal, as a cluster would run its Job."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field

from sluice.rehearsal.load_job import run_load
from sluice.rehearsal.quality_job import run_quality
from sluice.rehearsal.release_services import ReleaseService
from sluice.rehearsal.traefik_router import TraefikRouter
from sluice.rehearsal.visitors import Visit, VisitorTraffic
from sluice.release.verdict import Verdict
from sluice.rollout.analysis_jobs import JobFiles, JobTargets
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
class AnalysisResult:
    """`reason` is empty when the canary may go on. `metrics`: by side and name; `visits`: what the template's own
    visitors lived through."""

    reason: str
    verdicts: tuple[Verdict, ...]
    metrics: dict[str, dict[str, float | None]]
    visits: list[Visit] = field(default_factory=list)


class OwnAnalysis(LoadParameters, ABC):
    """Parameters of an extra's template: what it asks in a cluster is not on one machine, so it runs itself."""

    @abstractmethod
    def run(self, scene: AnalysisContext, files: JobFiles, watch: Callable[[], None]) -> AnalysisResult:
        """Blocks until the analysis is over.

        Args:
            scene: What is running.
            files: What may be read, and where to write.
            watch: May raise to end it early.
        """


def analyse(
    step: AnalysisStep, index: int, scene: AnalysisContext, files: JobFiles, watch: Callable[[], None]
) -> AnalysisResult:
    """Blocks until the analysis is over. `watch` may raise to end it early; SluiceError when it measured nothing."""
    if isinstance(step.parameters, OwnAnalysis):
        return step.parameters.run(scene, files, watch)
    targets = JobTargets(router=scene.router.url, canary=scene.canary.url, stable=scene.stable.url)
    if isinstance(step.parameters, QualityParameters):
        compared = run_quality(step.parameters, targets, files, name=f"quality-{index}", watch=watch)
        figures = {str(side): row for side, row in compared.figures.items()}
        return AnalysisResult(compared.reason, compared.verdicts, figures)
    with scene.visitors.away():
        loaded = run_load(step.parameters, targets, files, name=f"load-{index}", watch=watch)
    figures = {str(side): loaded.targets[side] for side in ("canary", "stable")}
    visits = [Visit(one.request_id, one.error) for one in loaded.visits]
    return AnalysisResult(loaded.reason, loaded.verdicts, figures, visits)
