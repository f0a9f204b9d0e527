# ruff: noqa: F811 - a fixture that is imported is named by the tests
"""`sluice data drift` and `harvest`: exit codes, and what is published."""

from __future__ import annotations

import json
import os
from contextlib import nullcontext
from pathlib import Path

import pytest

from sluice.core.workspace import Workspace
from unit.cli.published import here, run, server, there  # noqa: F401 - fixtures
from unit.data.conftest import git
from unit.extras.traffic.conftest import line, score
from unit.github.fake_repository import FakeRepository


@pytest.fixture(autouse=True)
def _no_embedder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sluice.extras.traffic.traffic_jobs.embedder", lambda _: nullcontext(None))


def test_without_traffic_a_notice_says_so_and_nothing_fails(
    here: Workspace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("SLUICE_TRAFFIC", "")  # a variable of the repository that nobody has set
    status, out, _ = run(capsys, "drift")
    assert (status, out.startswith("::notice::no traffic is recorded")) == (0, True)
    assert not (here.build / "drift").exists()


def test_traffic_that_shifted_is_a_refusal_with_a_page(here: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    cases = here.build / "evaluation" / "cases.jsonl"
    cases.parent.mkdir(parents=True)
    cases.write_text("".join(json.dumps({"declined": n % 4 == 0, "scores": {"f1": 1.0}}) + "\n" for n in range(60)))
    folder = here.state / "traces"
    folder.mkdir(parents=True)
    lines = (line(n, "What of that matter?", declined=n % 4 > 0) for n in range(60))
    (folder / f"1-{os.getpid()}-1.jsonl").write_bytes(b"".join(lines))
    status, out, err = run(capsys, "drift")
    assert status == 3
    assert "declined" in err
    assert (here.build / "drift" / "drift.html").is_file()
    assert str(here.build / "drift" / "drift.html") in out


def test_a_harvest_is_a_branch_and_a_pull_request_that_a_person_decides(
    here: Workspace, there: FakeRepository, server: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    traces = tmp_path / "traffic"
    traces.mkdir()
    lines = [line(n, "Who runs the ferry?", declined=n == 1) for n in (1, 2)]
    (traces / "a.jsonl").write_bytes(b"".join([*lines, score(2, 0.0)]))
    before = git(here.root, "status", "--porcelain")
    status, out, err = run(capsys, "harvest", "--from", str(traces), "--publish")
    assert status == 0, err
    assert "branch pushed\npull request opened: " in out
    assert git(here.root, "status", "--porcelain") == before, "the working tree is not touched"
    (pull,) = there.pulls
    assert (pull["head"], pull["base"]) == ("harvest", "main")
    assert "Who runs the ferry?" in pull["body"]
    (row,) = map(json.loads, git(server, "show", "harvest:docs/proposals/rows.jsonl").splitlines())
    assert (row["question"], row["status"]) == ("Who runs the ferry?", "proposed")
    assert git(server, "diff", "--name-only", "main", "harvest").splitlines() == [
        "docs/proposals/README.md",
        "docs/proposals/rows.jsonl",
    ]
    assert "branch unchanged\npull request unchanged: " in run(capsys, "harvest", "--from", str(traces), "--publish")[1]
