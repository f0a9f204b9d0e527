"""`sluice eval` as a pull request runs it: what it prints, publishes, and ends with."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sluice import cli
from sluice.evaluation.comparison import compare
from sluice.evaluation.comparison_policy import ComparisonPolicy
from sluice.evaluation.comparison_result import Comparison
from sluice.evaluation.registry import make_metrics
from sluice.evaluation.reports import ComparedVersion, write_reports
from sluice.jobs import compare_change as review
from sluice.jobs.compare_change import ChangeComparison
from unit.github.fake_github import FakeGitHub, actions_environment, fake_github

POLICY = ComparisonPolicy.model_validate(
    {
        "confidence": 0.99,
        "power": 0.8,
        "resamples": 1000,
        "seed": 1,
        "minimum_cases": 20,
        "slices": {"minimum_cases": 20, "at_most": 3},
        "metrics": {"f1": {"decides": "always", "smallest": 0.02}},
    }
)


def records(f1: float) -> list[dict[str, Any]]:
    return [
        {
            "id": f"q{number}",
            "question": f"question {number}",
            "answer": "a",
            "status": "answered",
            "scores": {"f1": f1},
        }
        for number in range(40)
    ]


def compared(head: float) -> Comparison:
    return compare(records(1.0), records(head), make_metrics(), POLICY)


@pytest.fixture
def github(loopback: None) -> Iterator[FakeGitHub]:  # noqa: ARG001 - opens the network to this machine
    with fake_github() as fake:
        yield fake


@pytest.fixture
def summary(github: FakeGitHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The job summary of a run of pull request 7, with GitHub played by a server on this machine."""
    found = actions_environment(github, tmp_path) | {"GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md")}
    for name, value in found.items():
        monkeypatch.setenv(name, value)
    for name in ("die_with_parent", "watch_parent"):
        monkeypatch.setattr(cli, name, lambda: None)
    monkeypatch.setattr(cli.signal, "signal", lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["sluice", "eval", "--publish"])
    return tmp_path / "summary.md"


def told(monkeypatch: pytest.MonkeyPatch, folder: Path, comparison: Comparison | None, replayed: str = "") -> int:
    """What `sluice eval` ends with when the review finds this."""
    if comparison:
        write_reports(folder, comparison, ComparedVersion("base", "main"), ComparedVersion("head", "working tree"))
    found = ChangeComparison("mine against main", replayed, comparison, folder if comparison else None)
    monkeypatch.setattr(review, "review", lambda *_, **__: found)
    return cli.main()


def test_one_comment_follows_the_change(
    github: FakeGitHub,
    summary: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert told(monkeypatch, tmp_path / "out", compared(0.5)) == 3
    printed = capsys.readouterr()
    assert "Worse: f1" in printed.out
    assert "the verdict is: worse" in printed.err
    assert "Worse: f1" in summary.read_text()
    (comment,) = github.comments.values()
    assert "Worse: f1" in comment["body"]
    assert told(monkeypatch, tmp_path / "out", compared(1.0)) == 0
    (comment,) = github.comments.values()
    assert "No difference seen" in comment["body"]
    assert told(monkeypatch, tmp_path / "out", None) == 0
    (comment,) = github.comments.values()
    assert "Nothing changed" in comment["body"]


def test_what_came_out_of_the_cache_alone_is_said(
    summary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told(monkeypatch, tmp_path / "out", compared(1.0), "OPENAI_API_KEY not set") == 0
    assert "no model was called (OPENAI_API_KEY not set)" in capsys.readouterr().out
    assert summary.exists()
