"""What became of the copies of questions that a shadow deployment sent to the canary.

In a cluster the component `monitoring` counts them by the canary's own metrics; in a rehearsal the router does.
"""

from __future__ import annotations

from collections.abc import Callable

from sluice.extras.deployment_types.routers import MirroringRouter
from sluice.rehearsal.analysis_runs import AnalysisContext, AnalysisResult, JobFiles, OwnAnalysis
from sluice.release.gates import Measurement, decide, load_gates
from sluice.release.verdict import reason_of

# Of the load stage: gates of this metric hold for copies too.
_METRIC = "error_rate"


class CopiesBegin(OwnAnalysis):
    """From here on copies count. `seconds` are 0, as of the other."""

    def run(self, scene: AnalysisContext, files: JobFiles, watch: Callable[[], None]) -> AnalysisResult:
        del files, watch
        assert isinstance(scene.router, MirroringRouter)
        scene.router.forget()
        return AnalysisResult("", (), {})


class CopiedQuestions(OwnAnalysis):
    """An analysis without load of its own."""

    def run(self, scene: AnalysisContext, files: JobFiles, watch: Callable[[], None]) -> AnalysisResult:
        """No copy at all stops the canary too: then nothing was shadowed."""
        watch()
        assert isinstance(scene.router, MirroringRouter)
        copies = scene.router.copies()
        count, failed = sum(copies.values()), sum(number for code, number in copies.items() if code >= "500")
        figures: dict[str, dict[str, float | None]] = {"canary": {"copies": count, "copies_failed": failed}}
        if not count:
            return AnalysisResult("no question was copied to the canary: the time was too short for one", (), figures)
        # As many copies as the time brings: the share decides, and the load stage has its number of samples.
        gates = [one.model_copy(update={"min_samples": 1}) for one in load_gates(files.gates) if one.metric == _METRIC]
        verdicts = decide(gates, "load", {_METRIC: Measurement(failed / count, int(count))}, None)
        reasons = reason_of(verdicts)
        return AnalysisResult(f"copies of questions: {reasons}" if reasons else "", tuple(verdicts), figures)
