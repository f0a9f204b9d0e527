import json
from collections.abc import Callable
from pathlib import Path

import pytest

from sluice.core.workspace import Workspace
from support.git import commit_all, git
from unit.core.starter import STARTER
from unit.github.fake_github import FakeGitHub, actions_environment

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A commit in a checkout in miniature, and the files that Actions gives a step; their folder."""
    monkeypatch.chdir(workspace.root)
    for name in ("OUTPUT", "STEP_SUMMARY"):
        monkeypatch.setenv(f"GITHUB_{name}", str(tmp_path / name))
    git(workspace.root, "init", "--quiet")
    commit_all(workspace.root)
    return tmp_path


def planned(run: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in (run / "OUTPUT").read_text().splitlines())


@pytest.mark.parametrize("key", [None, "set"])
def test_no_rehearsal_without_the_key(run: Path, monkeypatch: pytest.MonkeyPatch, sluice: Run, key: str | None) -> None:
    path = Path("config/providers.yaml")
    path.write_text(path.read_text().replace("    kind: local ", "    kind: openai\n    key_env: A_KEY\n    #", 1))
    if key:
        monkeypatch.setenv("A_KEY", key)
    assert sluice("ci", "keys")[0] == 0
    assert planned(run)["missing"] == ("" if key else "A_KEY")
    assert (run / "STEP_SUMMARY").exists() is (key is None)
    assert key or "A_KEY not set" in (run / "STEP_SUMMARY").read_text()


def test_project(run: Path, sluice: Run) -> None:
    names = STARTER.model_dump(mode="json", exclude_none=True) | {"environments": ["uat", "live"]}
    Path("config/project.yaml").write_text(json.dumps(names))
    assert sluice("ci", "project")[0] == 0
    first, last, parts = (run / "OUTPUT").read_text().splitlines()
    assert (first, last) == ("first=uat", "last=live")
    assert {"guard", "redteam"} <= set(parts.removeprefix("parts=").split())


def test_issue(run: Path, github: FakeGitHub, sluice: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in actions_environment(github, run).items():
        monkeypatch.setenv(name, value)
    words = ("ci", "issue", "--marker", "nightly", "--title", "The nightly run fails")
    for result, states in (("failure", ["open"]), ("cancelled", ["open"]), ("success", ["closed"])):
        monkeypatch.setenv("NEEDS", json.dumps({"soak": {"result": result}}))
        assert sluice(*words)[0] == 0
        assert [issue["state"] for issue in github.issues.values()] == states
