"""Runs the Job of an analysis as a child process of a rehearsal. Its exit code is the verdict, its report gives the
reason."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

import sluice
from sluice.core import processes
from sluice.core.atomic_files import read_json
from sluice.core.errors import SluiceError
from sluice.core.settings import Settings
from sluice.release.verdict import Verdict

PASSED, GATE_FAILED = 0, 3


class JobReport(Settings):
    """What the gates said."""

    verdicts: tuple[Verdict, ...]

    @property
    def passed(self) -> bool:
        return bool(self.verdicts) and all(verdict.passed for verdict in self.verdicts)

    @property
    def reason(self) -> str:
        """Why it failed: first the gates that measured something, then those that could not. Empty when all passed."""
        failed = [verdict for verdict in self.verdicts if not verdict.passed]
        return "; ".join(v.reason for v in sorted(failed, key=lambda v: v.figure is None))


@dataclass(frozen=True)
class JobFiles:
    """The files that analyses read, and the folder `state` that they write to."""

    gates: Path
    questions: Path
    locustfile: Path
    state: Path

    def report(self, kind: str, name: str) -> Path:
        """Where a Job shall write its report; an earlier one is removed.

        Args:
            kind: of the analysis; a folder of `state`.
            name: of the Job.
        """
        path = (self.state / kind / f"{name}.json").resolve()
        path.unlink(missing_ok=True)
        return path


@dataclass(frozen=True)
class JobTargets:
    """Base URLs of what an analysis talks to."""

    router: str
    canary: str
    stable: str


R = TypeVar("R", bound=JobReport)


def run_job(
    name: str,
    argv: Sequence[str],
    *,
    what: str,
    state: Path,
    seconds: float,
    env: Mapping[str, str] | None = None,
    watch: Callable[[], None] = lambda: None,
) -> int:
    """Runs the Job of an analysis on this machine, to its end.

    Args:
        name: of its process and log.
        argv: what it runs.
        what: how errors name it.
        state: the .sluice/ folder.
        seconds: how long it may take.
        env: variables beside those of this process.
        watch: called a few times a second; may raise to end it.

    Returns:
        PASSED or GATE_FAILED.

    Raises:
        SluiceError: it measured nothing: it could not start, crashed, or was not done in time.
    """
    # The child must find this very package, installed or not.
    code = os.pathsep.join(filter(None, [str(Path(sluice.__file__).parents[1]), os.environ.get("PYTHONPATH")]))
    child = processes.start(name, argv, state=state, env={**(env or {}), "PYTHONPATH": code})
    try:
        end = time.monotonic() + seconds
        while child.running:
            watch()
            if time.monotonic() > end:
                raise SluiceError(f"{what} did not end in time; its log ends:\n{child.tail()}")
            time.sleep(0.1)
    finally:
        child.stop(grace=5)
    status = child.process.returncode
    if status not in (PASSED, GATE_FAILED):
        raise SluiceError(f"{what} measured nothing (exit status {status}); its log ends:\n{child.tail()}")
    return status


def read_report(path: Path, status: int, model: type[R]) -> R:
    """The report of a Job that has ended.

    Args:
        path: the file.
        status: what the Job ended with.
        model: what the report holds.

    Raises:
        SluiceError: it cannot be read, or says something else than the status.
    """
    try:
        report = model.model_validate(read_json(path))
    except ValidationError as error:
        raise SluiceError(f"{path}: not a {model.__name__}: {error.errors()[0]['msg']}") from None
    if report.passed != (status == PASSED):
        raise SluiceError(f"{path}: the exit status {status} contradicts the verdicts in the report")
    return report
