"""What is done with Locust's exit status and report; test_rehearsal.py beside it runs the real one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sluice.core.errors import SluiceError
from sluice.rehearsal.analysis_runs import JobFiles, JobTargets, LoadReport, run_load
from sluice.release.verdict import Verdict, reason_of
from sluice.rollout.analysis_templates import LoadParameters

LOAD = LoadParameters(users=2, seconds=1, shape="steady", answer_timeout_s=240)
REPORT = """{"targets": {}, "samples": {}, "visits": [], "pairs": [],
 "verdicts": [{"gate": "g", "metric": "m", "passed": %s,
 "figure": 1, "limit": 2, "reference": null, "samples": 9, "reason": "why"}]}"""

Run = Callable[[str], LoadReport]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, questions: Path, gates: Path) -> Run:
    """run_load with a script in the place of Locust."""

    def go(script: str) -> LoadReport:
        package = tmp_path / "fake" / "locust"
        package.mkdir(parents=True)
        (tmp_path / "state" / "load").mkdir(parents=True)
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


def test_status_0_with_a_report_of_passed_gates_is_a_pass(run: Run) -> None:
    report = run(f"open(out, 'w').write({REPORT % 'true'!r})")
    assert reason_of(report.verdicts) == ""


def test_status_3_is_a_failed_gate_with_its_reason(run: Run) -> None:
    report = run(f"open(out, 'w').write({REPORT % 'false'!r}); sys.exit(3)")
    assert reason_of(report.verdicts) == "why"


@pytest.mark.parametrize("status", [1, 2, 137])
def test_any_other_status_measured_nothing(run: Run, status: int) -> None:
    with pytest.raises(SluiceError, match=rf"measured nothing \(exit status {status}\); its log ends:\nboom"):
        run(f"print('boom', flush=True); sys.exit({status})")


def test_a_pass_without_a_report_is_no_pass(run: Run) -> None:
    with pytest.raises(SluiceError, match=r"load-0\.json: no such file"):
        run("sys.exit(0)")


@pytest.mark.parametrize(("passed", "status"), [("false", 0), ("true", 3)])
def test_a_status_that_contradicts_the_report_is_an_error(run: Run, passed: str, status: int) -> None:
    with pytest.raises(SluiceError, match="contradicts"):
        run(f"open(out, 'w').write({REPORT % passed!r}); sys.exit({status})")


def test_an_empty_set_of_verdicts_is_no_pass(run: Run) -> None:
    empty = '{"targets": {}, "samples": {}, "visits": [], "pairs": [], "verdicts": []}'
    with pytest.raises(SluiceError, match="contradicts"):
        run(f"open(out, 'w').write({empty!r})")


def test_a_report_of_another_shape_is_an_error(run: Run) -> None:
    with pytest.raises(SluiceError, match="not a LoadReport"):
        run("open(out, 'w').write('{}')")


def test_gates_that_measured_come_first_in_the_reason() -> None:
    common: dict[str, Any] = {"metric": "m", "passed": False, "limit": 1, "reference": None, "samples": 0}
    silent = Verdict(gate="a", figure=None, reason="no samples", **common)
    measured = Verdict(gate="b", figure=0.5, reason="half failed", **common)
    assert reason_of([silent, measured]) == "half failed; no samples"
