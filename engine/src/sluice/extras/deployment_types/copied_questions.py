"""The load stage of a shadow deployment: the copies that the canary got before it must have been answered too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from sluice.extras.deployment_types.routers import MirroringRouter
from sluice.rehearsal.analysis_runs import AnalysisContext, AnalysisResult, analyse
from sluice.release.gates import Measurement, decide, load_gates
from sluice.rollout.analysis_jobs import JobFiles
from sluice.rollout.analysis_templates import LoadParameters
from sluice.rollout.canary_plan import AnalysisStep

# The gate of the load stage that is about answers, whoever asked.
_METRIC = "error_rate"


class CopiedLoad(LoadParameters):
    """What the template `load` does, after a look at the copies.

    In a cluster the component `monitoring` counts them by the canary's own metrics; here the router does."""

    def run(self, scene: AnalysisContext, files: JobFiles, watch: Callable[[], None]) -> AnalysisResult:
        """Args as of `analyse`. No copy at all stops the canary too: then nothing was shadowed."""
        assert isinstance(scene.router, MirroringRouter)
        copies = scene.router.copies()
        failed = sum(count for code, count in copies.items() if code >= "500")
        figures: dict[str, dict[str, float | None]] = {
            "canary": {"copies": sum(copies.values()), "copies_failed": failed},
            "stable": {},
        }
        if not any(copies.values()):
            return AnalysisResult("no question was copied to the canary: the time was too short for one", (), figures)
        rate = Measurement(failed / sum(copies.values()), int(sum(copies.values())))
        # As many copies as the time brings: the share decides, and the load stage after it has its number of samples.
        gates = [
            gate.model_copy(update={"min_samples": 1}) for gate in load_gates(files.gates) if gate.metric == _METRIC
        ]
        verdicts = decide(gates, "load", {_METRIC: rate}, None)
        if reasons := [one.reason for one in verdicts if not one.passed]:
            return AnalysisResult(f"copies of questions: {'; '.join(reasons)}", tuple(verdicts), figures)
        step = AnalysisStep("load", LoadParameters(self.users, self.seconds, self.shape, self.answer_timeout_s))
        loaded = analyse(step, 0, scene, files, watch)
        return replace(loaded, metrics={side: {**loaded.metrics[side], **more} for side, more in figures.items()})
