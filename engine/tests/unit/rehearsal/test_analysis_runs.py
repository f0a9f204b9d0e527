"""A Job as a child process: what its exit status and its report mean. test_load.py has the rest, by way of Locust."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from sluice.core.errors import SluiceError
from sluice.rehearsal.analysis_runs import GATE_FAILED, PASSED, JobReport, read_report, run_job


def run(tmp_path: Path, code: str, *, seconds: float = 60) -> int:
    argv = [sys.executable, "-c", code]
    return run_job("job-1", argv, what="the comparison", state=tmp_path, seconds=seconds, env={"WHO": "me"})


@pytest.mark.parametrize("status", [PASSED, GATE_FAILED])
def test_two_statuses_are_verdicts(tmp_path: Path, status: int) -> None:
    assert run(tmp_path, f"import os, sys; sys.exit({status} if os.environ['WHO'] == 'me' else 9)") == status


def test_any_other_status_measured_nothing(tmp_path: Path) -> None:
    with pytest.raises(SluiceError, match=r"the comparison measured nothing \(exit status 7\); its log ends:\nboom"):
        run(tmp_path, "import sys; print('boom', flush=True); sys.exit(7)")


def test_a_job_that_takes_too_long_is_ended_and_measured_nothing(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(SluiceError, match="the comparison did not end in time"):
        run(tmp_path, "import time; time.sleep(120)", seconds=0.5)
    assert time.monotonic() - began < 60
    assert not list((tmp_path / "run").iterdir())


def test_the_child_finds_the_package_of_its_parent(tmp_path: Path) -> None:
    assert run(tmp_path, "import sluice.rehearsal.analysis_runs") == PASSED


def test_a_report_without_verdicts_is_no_pass(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text('{"verdicts": []}')
    assert read_report(path, GATE_FAILED, JobReport).passed is False
    with pytest.raises(SluiceError, match="the exit status 0 contradicts the verdicts"):
        read_report(path, PASSED, JobReport)
