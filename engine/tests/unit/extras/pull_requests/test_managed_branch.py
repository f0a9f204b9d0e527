"""A branch that Sluice keeps: made beside the working tree, pushed once, left to whoever commits to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from sluice.core.git import commit_tree
from sluice.extras.pull_requests.branch_pull_request import push_branch, with_files
from unit.data.conftest import commit, git

MARK = "Kept-Branch: "


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A checkout with a server to push to."""
    root = tmp_path / "checkout"
    root.mkdir()
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch=main", "server.git")
    git(root, "init", "--quiet", "--initial-branch=main")
    git(root, "remote", "add", "origin", str(tmp_path / "server.git"))
    (root / "notes.md").write_text("notes\n")
    commit(root)
    git(root, "push", "--quiet", "origin", "main")
    return root


def made(root: Path, text: str) -> str:
    head = git(root, "rev-parse", "HEAD")
    return commit_tree(root, with_files(root, head, {"docs/new.md": text}), f"New\n\n{MARK}docs", head)


def test_the_same_files_are_the_same_commit_and_the_checkout_stays(root: Path) -> None:
    first = made(root, "new\n")
    assert made(root, "new\n") == first != made(root, "other\n")
    assert git(root, "show", f"{first}:docs/new.md") == "new"
    assert git(root, "show", f"{first}:notes.md") == "notes"
    assert git(root, "status", "--porcelain") == ""
    assert not (root / "engine" / "docs").exists()


def test_it_is_pushed_once_renewed_and_left_to_a_person(root: Path) -> None:
    first, second = made(root, "new\n"), made(root, "other\n")
    assert push_branch(root, first, "kept", MARK, {}) == "branch pushed"
    assert push_branch(root, first, "kept", MARK, {}) == "branch unchanged"
    assert push_branch(root, second, "kept", MARK, {}) == "branch pushed anew"
    head = git(root, "rev-parse", "HEAD")
    theirs = commit_tree(root, with_files(root, second, {"docs/mine.md": "mine\n"}), "Mine", head)
    git(root, "push", "--quiet", "--force", "origin", f"{theirs}:refs/heads/kept")
    assert "left alone" in push_branch(root, first, "kept", MARK, {})
    assert git(root, "ls-remote", "origin", "refs/heads/kept").split()[0] == theirs
