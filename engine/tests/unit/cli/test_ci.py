"""`sluice ci` as the steps of ci.yml call it: outputs, summary, exit status."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sluice import cli
from sluice.core.workspace import Workspace
from sluice.github.job_plan import ENGINE, JOBS
from unit.core.starter import STARTER
from unit.github.fake_github import FakeGitHub, actions_environment, fake_github

# What a change of config/ asks for.
OWN = dict.fromkeys(JOBS, "true") | {ENGINE: "false"}


@pytest.fixture
def github(loopback: None) -> Iterator[FakeGitHub]:  # noqa: ARG001 - opens the network to this machine
    with fake_github() as fake:
        yield fake


@pytest.fixture
def run(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A commit in a checkout in miniature, and the files that Actions gives a step; their folder."""
    monkeypatch.setattr(cli, "die_with_parent", lambda: None)
    monkeypatch.setattr(cli, "watch_parent", lambda: None)
    monkeypatch.setattr(cli.signal, "signal", lambda *_: None)
    monkeypatch.chdir(workspace.root)
    for name in ("OUTPUT", "STEP_SUMMARY"):
        monkeypatch.setenv(f"GITHUB_{name}", str(tmp_path / name))
    git("init", "-q", "-b", "main")
    commit("start")
    return tmp_path


def git(*words: str) -> None:
    name = ["-c", "user.name=t", "-c", "user.email=t@example.invalid", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *name, *words], check=True, capture_output=True)


def commit(message: str) -> None:
    git("add", "-A")
    git("commit", "-q", "-m", message)


def sluice(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["sluice", *words])
    return cli.main()


def planned(run: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in (run / "OUTPUT").read_text().splitlines())


def test_a_page_of_documentation_asks_for_no_model_work(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("docs").mkdir()
    Path("docs/page.md").write_text("new")
    commit("a page")
    assert sluice(monkeypatch, "ci", "plan", "--base", "HEAD~1") == 0
    assert planned(run) == {job: "true" if job == "check-code" else "false" for job in JOBS}
    assert "| `eval-change` | `no` |" in (run / "STEP_SUMMARY").read_text()


def test_the_base_may_be_missing(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sluice(monkeypatch, "ci", "plan", "--base", "f" * 40) == 0
    assert planned(run) == dict.fromkeys(JOBS, "true")


@pytest.mark.parametrize("key", [None, "set"])
def test_nobody_rehearses_with_a_provider_whose_key_is_not_there(
    run: Path, monkeypatch: pytest.MonkeyPatch, key: str | None
) -> None:
    path = Path("config/providers.yaml")
    path.write_text(path.read_text().replace("    kind: local ", "    kind: openai\n    key_env: A_KEY\n    #", 1))
    if key:
        monkeypatch.setenv("A_KEY", key)
    commit("another provider")
    assert sluice(monkeypatch, "ci", "plan", "--base", "HEAD~1") == 0
    assert planned(run) == OWN | ({} if key else {"rehearse-release": "false"})
    assert ("A_KEY not set" in (run / "STEP_SUMMARY").read_text()) is (key is None)


def test_a_broken_list_of_providers_leaves_nothing_out(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("config/providers.yaml").write_text("chat: [")
    commit("broken")
    assert sluice(monkeypatch, "ci", "plan", "--base", "HEAD~1") == 0
    assert planned(run) == OWN


@pytest.mark.parametrize(("result", "status"), [("success", 0), ("failure", 1), ("skipped", 1)])
def test_required(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], result: str, status: int
) -> None:
    needs = {job: {"result": "success", "outputs": {}} for job in JOBS} | {"test-python": {"result": result}}
    needs["plan"] = {"result": "success", "outputs": dict.fromkeys(JOBS, "true")}
    monkeypatch.setenv("NEEDS", json.dumps(needs))
    assert sluice(monkeypatch, "ci", "required") == status
    assert f"| `test-python` | `{result}` |" in (run / "STEP_SUMMARY").read_text()
    assert ("test-python: " in capsys.readouterr().err) is (status == 1)


def test_project(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = STARTER.model_dump(mode="json", exclude_none=True) | {"environments": ["uat", "live"]}
    Path("config/project.yaml").write_text(json.dumps(names))
    assert sluice(monkeypatch, "ci", "project") == 0
    assert (run / "OUTPUT").read_text() == "first=uat\nlast=live\n"


def test_issue(run: Path, github: FakeGitHub, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in actions_environment(github, run).items():
        monkeypatch.setenv(name, value)
    words = ("ci", "issue", "--marker", "nightly", "--title", "The nightly run fails")
    for result, states in (("failure", ["open"]), ("failure", ["open"]), ("success", ["closed"])):
        monkeypatch.setenv("NEEDS", json.dumps({"soak": {"result": result}}))
        assert sluice(monkeypatch, *words) == 0
        assert [issue["state"] for issue in github.issues.values()] == states
