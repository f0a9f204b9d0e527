import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sluice.core.errors import SluiceError
from sluice.rehearsal.analysis_runs import (
    GATE_FAILED,
    PASSED,
    AnalysisReport,
    JobFiles,
    JobTargets,
    read_report,
    run_job,
    run_load,
)
from sluice.release.verdict import Verdict, reason_of
from sluice.rollout.analysis_templates import LoadParameters


def run(tmp_path: Path, code: str, *, seconds: float = 60) -> int:
    argv = [sys.executable, "-c", code]
    return run_job("job-1", argv, what="the comparison", state=tmp_path, seconds=seconds, env={"WHO": "me"})


def test_two_statuses_are_verdicts_and_any_other_measured_nothing(tmp_path: Path) -> None:
    assert run(tmp_path, f"import os, sys; sys.exit({GATE_FAILED} if os.environ['WHO'] == 'me' else 9)") == GATE_FAILED
    assert run(tmp_path, "import sluice.rehearsal.analysis_runs") == PASSED, "the package of its parent"
    with pytest.raises(SluiceError, match=r"the comparison measured nothing \(exit status 7\); its log ends:\nboom"):
        run(tmp_path, "import sys; print('boom', flush=True); sys.exit(7)")


def test_a_job_that_takes_too_long_is_ended_and_measured_nothing(tmp_path: Path) -> None:
    with pytest.raises(SluiceError, match="the comparison did not end in time"):
        run(tmp_path, "import time; time.sleep(120)", seconds=0.5)
    assert not list((tmp_path / "run").iterdir())


def test_a_report_without_verdicts_is_no_pass(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text('{"verdicts": []}')
    assert read_report(path, GATE_FAILED).reason
    with pytest.raises(SluiceError, match="the exit status 0 contradicts the verdicts"):
        read_report(path, PASSED)


LOAD = LoadParameters(users=2, seconds=1, shape="steady", answer_timeout_s=240)
REPORT = """{"targets": {}, "samples": {}, "visits": [], "pairs": [],
 "verdicts": [{"gate": "g", "metric": "m", "passed": %s,
 "figure": 1, "limit": 2, "reference": null, "samples": 9, "reason": "why"}]}"""

Run = Callable[[str], AnalysisReport]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, questions: Path, gates: Path) -> Run:
    def go(script: str) -> AnalysisReport:
        package = tmp_path / "fake" / "locust"
        package.mkdir(parents=True, exist_ok=True)
        (tmp_path / "state" / "load").mkdir(parents=True, exist_ok=True)
        (package / "__init__.py").touch()
        (package / "__main__.py").write_text(f"import os, sys, time\nout = os.environ['SLUICE_LOAD_OUT']\n{script}")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path / "fake"))
        return run_load(
            LOAD,
            JobTargets("http://127.0.0.1:1", "http://127.0.0.1:2", "http://127.0.0.1:3"),
            JobFiles(gates, questions, tmp_path / "locustfile.py", tmp_path / "state"),
            name="load-0",
        )

    return go


def test_status_3_is_a_failed_gate_with_its_reason(load: Run) -> None:
    report = load(f"open(out, 'w').write({REPORT % 'false'!r}); sys.exit(3)")
    assert report.reason == "why"


def test_a_pass_without_a_report_of_the_right_shape_is_an_error(load: Run) -> None:
    with pytest.raises(SluiceError, match="not the report of an analysis"):
        load("open(out, 'w').write('{}')")
    with pytest.raises(SluiceError, match=r"load-0\.json: no such file"):
        load("sys.exit(0)")


def test_gates_that_measured_come_first_in_the_reason() -> None:
    common: dict[str, Any] = {"metric": "m", "passed": False, "limit": 1, "reference": None, "samples": 0}
    silent = Verdict(gate="a", figure=None, reason="no samples", **common)
    measured = Verdict(gate="b", figure=0.5, reason="half failed", **common)
    assert reason_of([silent, measured]) == "half failed; no samples"
