from pathlib import Path

import pytest

from sluice.core import git
from sluice.core.errors import SluiceError
from support.git import git as run


def test_commit_says_when_tracked_files_differ(tmp_path: Path) -> None:
    run(tmp_path, "init", "-q")
    assert git.commit(tmp_path) == "unknown"
    (tmp_path / "a").write_text("1")
    run(tmp_path, "add", "a")
    run(tmp_path, "commit", "-q", "-m", "a")
    clean = git.commit(tmp_path)
    assert len(clean) == 40
    (tmp_path / "untracked").write_text("x")
    assert git.commit(tmp_path) == clean
    (tmp_path / "a").write_text("2")
    assert git.commit(tmp_path) == f"{clean}-dirty"


@pytest.fixture
def forked(tmp_path: Path) -> dict[str, str]:
    """`main` changes a file of `start`, `mine` adds one; `mine` is checked out."""
    found = {}
    for name, file in (("start", "a"), ("main", "a"), ("mine", "folder/b")):
        if name == "start":
            run(tmp_path, "init", "-q", "-b", "main")
        if name == "mine":
            run(tmp_path, "checkout", "-q", "-b", "mine", found["start"])
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text(name)
        run(tmp_path, "add", "-A")
        run(tmp_path, "commit", "-q", "-m", name)
        found[name] = git.resolve(tmp_path, "HEAD")
    return found


def test_where_two_commits_parted(tmp_path: Path, forked: dict[str, str]) -> None:
    assert git.merge_base(tmp_path, git.resolve(tmp_path, "main"), forked["mine"]) == forked["start"]
    run(tmp_path, "checkout", "-q", "--orphan", "alone")
    run(tmp_path, "commit", "-q", "-m", "alone")
    with pytest.raises(SluiceError, match="no commit in common"):
        git.merge_base(tmp_path, git.resolve(tmp_path, "HEAD"), forked["main"])


def test_a_file_that_moved_and_a_name_that_git_would_quote(tmp_path: Path, forked: dict[str, str]) -> None:
    run(tmp_path, "mv", "folder/b", 'ä "b"')
    run(tmp_path, "commit", "-q", "-m", "moved")
    assert git.changed(tmp_path, forked["mine"], "HEAD") == ["folder/b", 'ä "b"']
    (tmp_path / "ü").write_text("x")
    assert "ü" in git.changed(tmp_path, forked["mine"])


@pytest.mark.usefixtures("forked")
@pytest.mark.parametrize("ref", ["mainn", "", "--help", "0" * 40])
def test_what_is_no_commit(tmp_path: Path, ref: str) -> None:
    with pytest.raises(SluiceError, match="no commit, branch or tag") as caught:
        git.resolve(tmp_path, ref)
    assert ("did you mean 'main'" in caught.value.message) == (ref == "mainn")
    assert "git fetch" in caught.value.remedy
