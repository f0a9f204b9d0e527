"""Runs `sluice canary quality` as a child process for one analysis step, as engine/k8s/analysis/quality.yaml does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from sluice.core.processes import program
from sluice.rollout.analysis_jobs import JobFiles, JobReport, JobTargets, read_report, run_job
from sluice.rollout.analysis_templates import QualityParameters

# activeDeadlineSeconds of the Job.
_SECONDS = 1800.0


class QualityReport(JobReport):
    """What was compared, and what the gates said. `figures`: by side and metric; `comparison`: all of it."""

    figures: dict[Literal["canary", "stable"], dict[str, float | None]]
    comparison: dict[str, Any]


def run_quality(
    quality: QualityParameters,
    targets: JobTargets,
    files: JobFiles,
    *,
    name: str,
    watch: Callable[[], None] = lambda: None,
) -> QualityReport:
    """Blocks until stable and the canary have been asked. `watch` is called a few times a second and may raise to end
    it early. SluiceError when nothing could be compared."""
    out = files.report("quality", name)
    argv = [
        *(str(program("sluice")), "canary", "quality"),
        f"--stable={targets.stable}",
        f"--canary={targets.canary}",
        f"--cases={quality.cases}",
        f"--concurrency={quality.concurrency}",
        f"--timeout={quality.answer_timeout_s:g}",
        f"--questions={files.questions.resolve()}",
        f"--gates={files.gates.resolve()}",
        f"--out={out}",
    ]
    status = run_job(name, argv, what="the comparison of answers", state=files.state, seconds=_SECONDS, watch=watch)
    return read_report(out, status, QualityReport)
