"""What the contract tests look at: the checkout, and the files that git tracks in it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def root() -> Path:
    return Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session")
def tracked(root: Path) -> list[str]:
    """Paths of all files that git tracks, relative to the root."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=True)
    return [name for name in listed.stdout.split("\0") if name and (root / name).is_file()]


@pytest.fixture(scope="session")
def texts(root: Path, tracked: list[str]) -> dict[str, str]:
    """Content of the tracked text files by path. Objects of the data remote are left out: they are named by digest."""
    found = {}
    for name in tracked:
        content = b"" if name.startswith("dvc-store/") else (root / name).read_bytes()
        if content and b"\0" not in content:
            found[name] = content.decode()
    return found
