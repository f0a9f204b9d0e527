from __future__ import annotations

import subprocess
from pathlib import Path

from sluice.core import git


def run(root: Path, *words: str) -> None:
    name = ["-c", "user.name=t", "-c", "user.email=t@example.invalid", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(root), *name, *words], check=True, capture_output=True)


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


def test_outside_git(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git.commit(tmp_path) == "unknown"
