"""Runs one analysis step of a rehearsal in a child process, as a cluster runs the Job of its template."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import AliasChoices, ConfigDict, Field, ValidationError

import sluice
from sluice.core import processes
from sluice.core.atomic_files import read_json
from sluice.core.errors import SluiceError
from sluice.core.settings import Settings
from sluice.rehearsal.visitors import Visit
from sluice.release.verdict import Verdict, reason_of
from sluice.rollout.analysis_templates import LoadParameters, Parameters, QualityParameters
from sluice.rollout.load_stage import longest

PASSED, GATE_FAILED = 0, 3
# activeDeadlineSeconds of the Job of engine/k8s/analysis/quality.yaml.
_QUALITY_SECONDS = 1800.0
# Locust's start and end, beyond the load itself and the answers in flight.
_LOCUST_SECONDS = 60.0


class AnalysisReport(Settings):
    """The file that a Job writes, as far as it is read. `figures` by side; `pairs`: (stable, canary) in ms."""

    model_config = ConfigDict(extra="ignore")
    verdicts: tuple[Verdict, ...]
    figures: dict[str, dict[str, float | None]] = Field(default={}, validation_alias=AliasChoices("figures", "targets"))
    visits: tuple[Visit, ...] = ()
    pairs: tuple[tuple[float, float], ...] = ()

    @property
    def reason(self) -> str:
        """Return why the canary may not go on, empty if it may."""
        return reason_of(self.verdicts) if self.verdicts else "no gate has judged it"


@dataclass(frozen=True)
class JobFiles:
    gates: Path
    questions: Path
    locustfile: Path
    state: Path

    def report(self, kind: str, name: str) -> Path:
        path = (self.state / kind / f"{name}.json").resolve()
        path.unlink(missing_ok=True)
        return path


@dataclass(frozen=True)
class JobTargets:
    router: str
    canary: str
    stable: str


def analyse(
    parameters: Parameters, name: str, targets: JobTargets, files: JobFiles, watch: Callable[[], None]
) -> AnalysisReport:
    """Block until the analysis is over. `watch` may raise to end it early; SluiceError if nothing was measured."""
    run = run_quality if isinstance(parameters, QualityParameters) else run_load
    return run(parameters, targets, files, name=name, watch=watch)  # type: ignore[arg-type]


def run_load(
    load: LoadParameters, targets: JobTargets, files: JobFiles, *, name: str, watch: Callable[[], None] = lambda: None
) -> AnalysisReport:
    """Run Locust. `watch` is called a few times a second and may raise."""
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
    seconds = longest(load.seconds) + load.answer_timeout_s + _LOCUST_SECONDS
    status = run_job(name, argv, what="the load stage", state=files.state, seconds=seconds, env=env, watch=watch)
    return read_report(out, status)


def run_quality(
    quality: QualityParameters,
    targets: JobTargets,
    files: JobFiles,
    *,
    name: str,
    watch: Callable[[], None] = lambda: None,
) -> AnalysisReport:
    """Run `sluice canary quality`, as engine/k8s/analysis/quality.yaml does."""
    out = files.report("quality", name)
    argv = [
        *(str(processes.program("sluice")), "canary", "quality"),
        f"--stable={targets.stable}",
        f"--canary={targets.canary}",
        f"--cases={quality.cases}",
        f"--concurrency={quality.concurrency}",
        f"--timeout={quality.answer_timeout_s:g}",
        f"--questions={files.questions.resolve()}",
        f"--gates={files.gates.resolve()}",
        f"--out={out}",
    ]
    what = "the comparison of answers"
    status = run_job(name, argv, what=what, state=files.state, seconds=_QUALITY_SECONDS, watch=watch)
    return read_report(out, status)


def run_job(
    name: str,
    argv: Sequence[str],
    *,
    what: str,
    state: Path,
    seconds: float,
    env: Mapping[str, str] = {},
    watch: Callable[[], None] = lambda: None,
) -> int:
    # The child must find this very package, installed or not.
    code = os.pathsep.join(filter(None, [str(Path(sluice.__file__).parents[1]), os.environ.get("PYTHONPATH")]))
    child = processes.start(name, argv, state=state, env={**env, "PYTHONPATH": code})
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


def read_report(path: Path, status: int) -> AnalysisReport:
    try:
        report = AnalysisReport.model_validate(read_json(path))
    except ValidationError as error:
        raise SluiceError(f"{path}: not the report of an analysis: {error.errors()[0]['msg']}") from None
    if (status == PASSED) == bool(report.reason):
        raise SluiceError(f"{path}: the exit status {status} contradicts the verdicts in the report")
    return report
