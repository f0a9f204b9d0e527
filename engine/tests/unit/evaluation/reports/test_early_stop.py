"""Every report says that a comparison stopped early, and why."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from sluice.evaluation.comparison_result import Comparison
from sluice.evaluation.reports import COMMENT, JSON, JUNIT, PAGE, ComparedVersion, write_reports
from sluice.evaluation.reports.comparison_terminal import in_the_terminal

WHY = "Stopped after 34 of 270 cases: worse is decided (f1)."


def test_every_report_says_why_no_more_was_asked(
    worse: Comparison, sides: tuple[ComparedVersion, ComparedVersion], tmp_path: Path
) -> None:
    for comparison, times in ((replace(worse, asked=34, planned=270, stopped=WHY), 1), (worse, 0)):
        write_reports(tmp_path, comparison, *sides)
        texts = [(tmp_path / name).read_text() for name in (COMMENT, PAGE, JUNIT)]
        assert [text.count("Stopped after") for text in (*texts, in_the_terminal(comparison))] == [times] * 4
        document = json.loads((tmp_path / JSON).read_text())
        assert document["stopped"] == comparison.stopped
        assert (document["counts"]["asked"], document["counts"]["planned"]) == (comparison.asked, comparison.planned)
