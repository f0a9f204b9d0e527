import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sluice.core.errors import SluiceError
from sluice.core.workspace import Workspace
from sluice.evaluation.comparison import compare
from sluice.evaluation.comparison_result import Comparison
from sluice.evaluation.reports.comparison_page import COMMENT, write_reports
from sluice.evaluation.reports.phrasing import ComparedVersion
from sluice.jobs import compare_change as review
from sluice.jobs.compare_change import ChangeComparison
from unit.evaluation.asking import METRICS, ask
from unit.evaluation.reports.conftest import FEWER

Run = Callable[..., tuple[int, str, str]]


def compared(spoil: str = "") -> Comparison:
    return compare(ask(seed=1), ask(seed=1, spoil=spoil), METRICS, FEWER)


@pytest.fixture
def summary(tmp_path: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(workspace.root)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    return tmp_path / "summary.md"


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, sluice: Run) -> Callable[[Comparison | None], tuple[int, str, str]]:
    def call(comparison: Comparison | None) -> tuple[int, str, str]:
        def found(*_: Any, out: Path, **__: Any) -> ChangeComparison:
            if comparison:
                write_reports(out, comparison, ComparedVersion("base", "main"), ComparedVersion("head", "working tree"))
            return ChangeComparison(
                "mine against main", "", comparison, out if comparison else None, {"prompts/a,b.yml": 7}
            )

        monkeypatch.setattr(review, "review", found)
        return sluice("eval", "--publish")

    return call


def comment(workspace: Workspace) -> str:
    return (workspace.build / "comparison" / COMMENT).read_text()


def test_the_comment_follows_the_change(workspace: Workspace, summary: Path, told: Run) -> None:
    status, out, err = told(compared("invents"))
    assert status == 3
    assert "Worse: decline" in out
    assert "the verdict is: worse" in err
    assert re.search(r"^::warning file=prompts/a%2Cb.yml,line=7,title=\d+ cases got worse::\S+: .+%0A", out, re.M)
    assert "Worse: decline" in summary.read_text()
    assert "Worse: decline" in comment(workspace)
    status, out, _ = told(compared())
    assert (status, "::warning" in out) == (0, False)
    assert "No difference seen" in comment(workspace)
    status, out, _ = told(None)
    assert status == 0
    assert comment(workspace) == "## = Nothing to compare: mine against main.\n"
    assert "Nothing to compare: mine against main.\n" in out
    assert summary.read_text().count("## ") == 3


def test_a_side_that_cannot_be_evaluated_replaces_the_verdict_of_before(
    workspace: Workspace, summary: Path, told: Run, sluice: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert told(compared())[0] == 0

    def fails(*_: Any, **__: Any) -> ChangeComparison:
        raise SluiceError("base, main (1234): no model `x|y`", remedy="look @here")

    monkeypatch.setattr(review, "review", fails)
    assert sluice("eval", "--publish")[0] == 1
    wanted = "## ! Could not be compared\n\n`base, main (1234): no model 'x¦y'`\n\n`look @here`\n"
    assert comment(workspace) == wanted
    assert summary.read_text().endswith(wanted)
