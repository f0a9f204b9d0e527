"""Runs Locust as a child process for one analysis step. Its exit code is the verdict."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

import sluice
from sluice.core import processes
from sluice.core.errors import SluiceError
from sluice.core.files import read_json
from sluice.core.settings import Settings
from sluice.release.gates import Verdict
from sluice.rollout.figures import Target
from sluice.rollout.plan import LoadParameters

PASSED, GATE_FAILED = 0, 3
# On a slow machine a stage may take this many times its duration to get the samples that the gates need.
PROLONGED = 4
# Locust's start and end, beyond the load itself and the answers in flight.
_OVERHEAD_SECONDS = 60.0


class VisitRecord(Settings):
    """One visitor request of the load stage, to be found again in the router's access log."""

    request_id: str
    release: Literal["canary", "stable"]
    error: str


class LoadReport(Settings):
    """What Locust measured, and what the gates said."""

    targets: dict[Target, dict[str, float | None]]
    samples: dict[Target, dict[str, int]]
    verdicts: tuple[Verdict, ...]
    visits: tuple[VisitRecord, ...]
    # (stable, canary), milliseconds to the end of the answer
    pairs: tuple[tuple[float, float], ...]

    @property
    def reason(self) -> str:
        """Why it failed: first the gates that measured something, then those that could not. Empty when all passed."""
        failed = [verdict for verdict in self.verdicts if not verdict.passed]
        return "; ".join(v.reason for v in sorted(failed, key=lambda v: v.figure is None))


@dataclass(frozen=True)
class LoadTargets:
    """Base URLs of the three things that a load stage talks to."""

    router: str
    canary: str
    stable: str


def run_load(
    load: LoadParameters,
    targets: LoadTargets,
    *,
    name: str,
    locustfile: Path,
    questions: Path,
    gates: Path,
    state: Path,
    watch: Callable[[], None] = lambda: None,
) -> LoadReport:
    """Blocks until the stage is over. `watch` is called a few times a second and may raise to end it early.

    Raises SluiceError when Locust did not measure: it could not start, crashed, or wrote no report.
    """
    out = state / "load" / f"{name}.json"
    out.unlink(missing_ok=True)
    env = {
        "SLUICE_ROUTER_URL": targets.router,
        "SLUICE_CANARY_URL": targets.canary,
        "SLUICE_STABLE_URL": targets.stable,
        "SLUICE_QUESTIONS": str(questions.resolve()),
        "SLUICE_GATES": str(gates.resolve()),
        "SLUICE_LOAD_OUT": str(out.resolve()),
        "SLUICE_LOAD_USERS": str(load.users),
        "SLUICE_LOAD_DURATION": str(max(1, round(load.seconds))),
        "SLUICE_LOAD_SHAPE": load.shape,
        "SLUICE_LOAD_TIMEOUT": str(max(1, round(load.answer_timeout_s))),
        # Locust must find this very package, installed or not.
        "PYTHONPATH": os.pathsep.join(
            filter(None, [str(Path(sluice.__file__).parents[1]), os.environ.get("PYTHONPATH")])
        ),
    }
    argv = [sys.executable, "-m", "locust", "-f", str(locustfile.resolve()), "--headless", "--only-summary"]
    child = processes.start(name, argv, state=state, env=env)
    try:
        end = time.monotonic() + PROLONGED * load.seconds + load.answer_timeout_s + _OVERHEAD_SECONDS
        while child.running:
            watch()
            if time.monotonic() > end:
                raise SluiceError(f"the load stage did not end in time; its log ends:\n{child.tail()}")
            time.sleep(0.1)
    finally:
        child.stop(grace=5)
    status = child.process.returncode
    if status not in (PASSED, GATE_FAILED):
        raise SluiceError(f"the load stage measured nothing (exit status {status}); its log ends:\n{child.tail()}")
    return _report(out, status)


def _report(out: Path, status: int) -> LoadReport:
    try:
        report = LoadReport.model_validate(read_json(out))
    except ValidationError as error:
        raise SluiceError(f"{out}: not a load report: {error.errors()[0]['msg']}") from None
    passed = bool(report.verdicts) and all(verdict.passed for verdict in report.verdicts)
    if passed != (status == PASSED):
        raise SluiceError(f"{out}: the exit status {status} contradicts the verdicts in the report")
    return report
