"""A clone of this repository at another commit, ready to run the pipeline beside the working tree.

It borrows git's objects and shares DVC's cache and the named paths, so that commits reuse each other's results."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from sluice.core import git
from sluice.core.extras import hooks
from sluice.core.processes import program
from sluice.core.workspace import Workspace

FOLDER = "checkouts"  # below .sluice/
KEPT = 3  # checkouts of the last comparisons; each is as large as the index and the store


def checkout(
    workspace: Workspace, commit: str, *, share: Sequence[str] = (), on_drop: Callable[[Path], object] = lambda _: None
) -> Workspace:
    """Return the checkout of a commit; make it if needed, and drop older ones beyond the last few."""
    folder = workspace.state / FOLDER / commit[:12]
    if not (folder / ".git").exists():
        draft = folder.with_name(f"{folder.name}.draft")
        shutil.rmtree(draft, ignore_errors=True)
        draft.parent.mkdir(parents=True, exist_ok=True)
        git.run(workspace.root, "clone", "--quiet", "--shared", "--no-checkout", str(workspace.root), str(draft))
        missing = "a shallow clone has no other commits: `git fetch --unshallow`"
        git.run(draft, "checkout", "--quiet", "--detach", commit, remedy=missing)
        for bring in hooks("checkout").values():  # what git has not
            bring(workspace.root, draft)
        _share_dvc_cache(workspace, draft)
        (draft / ".sluice").mkdir(exist_ok=True)
        for name in share:
            mine = workspace.state / name
            mine.mkdir(parents=True, exist_ok=True)
            (draft / ".sluice" / name).symlink_to(mine, target_is_directory=True)
        draft.rename(folder)
    folder.touch()
    for old in sorted(folder.parent.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)[KEPT:]:
        on_drop(old / ".sluice")
        shutil.rmtree(old)
    return Workspace(folder)


def _share_dvc_cache(workspace: Workspace, draft: Path) -> None:
    local = workspace.root / ".dvc" / "config.local"
    if local.is_file():  # it may hold the credentials of a remote
        shutil.copy2(local, draft / ".dvc" / "config.local")
    dvc = str(program("dvc"))
    asked = subprocess.run([dvc, "cache", "dir"], cwd=workspace.root, capture_output=True, text=True, check=True)
    cache = ["cache", "dir", "--local", "--quiet", asked.stdout.strip()]
    subprocess.run([dvc, *cache], cwd=draft, check=True, capture_output=True)
