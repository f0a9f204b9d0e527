import os
import subprocess
import sys
from pathlib import Path

import pytest

from sluice.core import git
from sluice.core.errors import SluiceError
from sluice.core.workspace import Workspace
from sluice.jobs.compare_change import KEPT, checkout
from sluice.retrieval.stores import Stores
from support.git import commit_all

DVC = str(Path(sys.executable).with_name("dvc"))


def run(folder: Path, *words: str) -> str:
    return subprocess.run(words, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def commit(root: Path, text: str) -> str:
    (root / "prompts" / "a.txt").write_text(text)
    return commit_all(root)


@pytest.fixture
def here(tmp_path: Path) -> Workspace:
    root = tmp_path / "checkout"
    (root / "prompts").mkdir(parents=True)
    (root / "pyproject.toml").write_text("")
    (root / ".gitignore").write_text(".sluice/\n")
    run(root, "git", "init", "--quiet", "-b", "main")
    run(root, DVC, "init", "--quiet")
    return Workspace(root)


def test_an_older_commit_with_the_caches_of_this_one(here: Workspace) -> None:
    old = commit(here.root, "old")
    commit(here.root, "new")
    (here.root / "prompts" / "a.txt").write_text("edited")
    (here.root / ".dvc" / "config.local").write_text("[core]\n    checksum_jobs = 3\n")
    found = checkout(here, old)
    assert (found.prompts / "a.txt").read_text() == "old"
    assert git.commit(found.root) == old
    assert git.changed(found.root, old) == []
    assert Path(run(found.root, DVC, "cache", "dir")) == here.root / ".dvc" / "cache"
    assert run(found.root, DVC, "config", "core.checksum_jobs") == "3"
    (found.state / "responses" / "x").write_text("1")
    assert (here.state / "responses" / "x").read_text() == "1"
    assert found.state != here.state
    assert (here.prompts / "a.txt").read_text() == "edited"


def test_one_that_was_cut_off_is_made_again(here: Workspace) -> None:
    first = commit(here.root, "one")
    draft = here.state / "checkouts" / f"{first[:12]}.draft"
    (draft / "left").mkdir(parents=True)
    found = checkout(here, first)
    assert (found.prompts / "a.txt").read_text() == "one"
    assert not draft.exists()


def test_old_ones_are_dropped_once_their_store_is_closed(here: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    here.config.mkdir()
    (here.config / "stores.yaml").write_text("default: a\nstores: {a: {kind: embedded}}\n")
    commits = [commit(here.root, str(number)) for number in range(KEPT + 1)]
    closed: list[Path] = []
    monkeypatch.setattr(Stores, "close_abandoned", lambda _, state: closed.append(state) or state.is_dir())
    for age, name in enumerate(commits):
        found = checkout(here, name)
        os.utime(found.root, (1_000_000 + age,) * 2)
    first = here.state / "checkouts" / commits[0][:12]
    assert closed == [first / ".sluice"]
    assert not first.exists()
    assert sorted(p.name for p in first.parent.iterdir()) == sorted(name[:12] for name in commits[1:])
    assert (here.state / "responses").is_dir()  # the link to it went, not the folder


def test_a_commit_that_is_not_here(here: Workspace) -> None:
    commit(here.root, "one")
    with pytest.raises(SluiceError, match="git checkout") as caught:
        checkout(here, "0" * 40)
    assert "unshallow" in caught.value.remedy
    assert not (here.state / "checkouts" / ("0" * 12)).exists()
