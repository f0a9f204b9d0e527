"""Runs Locust as a child process for one analysis step. Its exit code is the verdict."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Literal

from sluice.core.settings import Settings
from sluice.rollout.analysis_jobs import JobFiles, JobReport, JobTargets, read_report, run_job
from sluice.rollout.analysis_templates import LoadParameters
from sluice.rollout.load_measurements import Target
from sluice.rollout.load_test.stage import longest

# Locust's start and end, beyond the load itself and the answers in flight.
_OVERHEAD_SECONDS = 60.0


class VisitRecord(Settings):
    """One visitor request of the load stage, to be found again in the router's access log."""

    request_id: str
    release: Literal["canary", "stable"]
    error: str


class LoadReport(JobReport):
    """What Locust measured, and what the gates said."""

    targets: dict[Target, dict[str, float | None]]
    samples: dict[Target, dict[str, int]]
    visits: tuple[VisitRecord, ...]
    # (stable, canary), milliseconds to the end of the answer
    pairs: tuple[tuple[float, float], ...]


def run_load(
    load: LoadParameters, targets: JobTargets, files: JobFiles, *, name: str, watch: Callable[[], None] = lambda: None
) -> LoadReport:
    """Blocks until the stage is over. `watch` is called a few times a second and may raise to end it early.

    Raises SluiceError when Locust did not measure: it could not start, crashed, or wrote no report.
    """
    out = files.report("load", name)
    env = {
        "SLUICE_ROUTER_URL": targets.router,
        "SLUICE_CANARY_URL": targets.canary,
        "SLUICE_STABLE_URL": targets.stable,
        "SLUICE_QUESTIONS": str(files.questions.resolve()),
        "SLUICE_GATES": str(files.gates.resolve()),
        "SLUICE_LOAD_OUT": str(out),
        "SLUICE_LOAD_USERS": str(load.users),
        "SLUICE_LOAD_DURATION": str(max(1, round(load.seconds))),
        "SLUICE_LOAD_SHAPE": load.shape,
        "SLUICE_LOAD_TIMEOUT": str(max(1, round(load.answer_timeout_s))),
    }
    argv = [sys.executable, "-m", "locust", "-f", str(files.locustfile.resolve()), "--headless", "--only-summary"]
    seconds = longest(load.seconds) + load.answer_timeout_s + _OVERHEAD_SECONDS
    status = run_job(name, argv, what="the load stage", state=files.state, seconds=seconds, env=env, watch=watch)
    return read_report(out, status, LoadReport)
