"""What git says about the checkout."""

from __future__ import annotations

import subprocess
from pathlib import Path


def commit(root: Path) -> str:
    """The commit that is checked out, with `-dirty` behind it when tracked files differ; `unknown` outside git."""
    head = _git(root, "rev-parse", "HEAD")
    if not head:
        return "unknown"
    return f"{head}-dirty" if _git(root, "status", "--porcelain", "--untracked-files=no") else head


def _git(root: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""
