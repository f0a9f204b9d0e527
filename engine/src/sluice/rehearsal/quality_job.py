"""Runs `sluice canary quality` as a child process for one analysis step, as engine/k8s/analysis/quality.yaml does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from sluice.core.processes import program
from sluice.rollout.analysis_jobs import JobReport, read_report, run_job
from sluice.rollout.analysis_templates import QualityParameters

# activeDeadlineSeconds of the Job.
_SECONDS = 1800.0


class QualityReport(JobReport):
    """What was compared, and what the gates said. `figures`: by side and metric; `comparison`: all of it."""

    figures: dict[Literal["canary", "stable"], dict[str, float | None]]
    comparison: dict[str, Any]


def run_quality(
    quality: QualityParameters,
    *,
    canary: str,
    stable: str,
    name: str,
    questions: Path,
    gates: Path,
    state: Path,
    watch: Callable[[], None] = lambda: None,
) -> QualityReport:
    """Blocks until both releases (base URLs) have been asked. `watch` is called a few times a second and may raise to
    end it early. SluiceError when nothing could be compared."""
    out = state / "quality" / f"{name}.json"
    out.unlink(missing_ok=True)
    argv = [
        *(str(program("sluice")), "canary", "quality"),
        f"--stable={stable}",
        f"--canary={canary}",
        f"--cases={quality.cases}",
        f"--concurrency={quality.concurrency}",
        f"--timeout={quality.answer_timeout_s:g}",
        f"--questions={questions.resolve()}",
        f"--gates={gates.resolve()}",
        f"--out={out.resolve()}",
    ]
    status = run_job(name, argv, what="the comparison of answers", state=state, seconds=_SECONDS, watch=watch)
    return read_report(out, status, QualityReport)
