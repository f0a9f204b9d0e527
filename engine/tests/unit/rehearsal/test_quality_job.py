"""The comparison of answers by the command of the Job, against real services."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sluice.data.rows import write_rows
from sluice.rehearsal.analysis_runs import JobFiles, JobTargets, QualityReport, run_quality
from sluice.release.verdict import reason_of
from sluice.rollout.analysis_templates import QualityParameters
from starter_files import ROOT
from support.rollout.canaries import CASES, compared_releases

pytestmark = pytest.mark.real

Run = Callable[..., QualityReport]


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with compared_releases(tmp_path_factory.mktemp("services")) as urls:
        yield urls


@pytest.fixture
def run(tmp_path: Path, services: dict[str, str]) -> Run:
    questions = tmp_path / "eval.jsonl"
    write_rows(questions, CASES)

    def go(canary: str, *, cases: int = 50, **more: object) -> QualityReport:
        return run_quality(
            QualityParameters(cases=cases, concurrency=4, answer_timeout_s=240),
            JobTargets(router="", canary=canary, stable=services["stable"]),
            JobFiles(ROOT / "config" / "gates.yaml", questions, tmp_path / "locustfile.py", tmp_path / "state"),
            name="quality-0",
            **more,  # type: ignore[arg-type]
        )

    return go


def test_a_canary_that_answers_alike_passes(run: Run, services: dict[str, str]) -> None:
    report = run(services["good"])
    assert (report.passed, reason_of(report.verdicts)) == (True, "")
    assert report.figures["canary"] == report.figures["stable"]
    assert {one.gate for one in report.verdicts} >= {"quality_answer_key", "quality_decline_accuracy"}
    assert {one.samples for one in report.verdicts if one.metric == "decline_accuracy"} == {10}
