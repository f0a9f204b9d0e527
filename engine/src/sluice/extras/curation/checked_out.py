"""Another version of the data, in a folder of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sluice.core import git
from sluice.core.workspace import Workspace
from sluice.data.dvc_remote import POINTER, open_places, version_of


@contextmanager
def checked_out(workspace: Workspace, base: str) -> Iterator[Path]:
    """The data of a commit, branch or tag in a folder of its own, gone after the block; `base` may name a folder. From
    the cache where it has it all, otherwise from the default remote."""
    if Path(base).is_dir():
        yield Path(base)
        return
    commit = git.resolve(workspace.root, base)
    version = version_of(git.run(workspace.root, "show", f"{commit}:{POINTER}").encode(), f"{base}:{POINTER}")
    with tempfile.TemporaryDirectory(prefix="sluice-data-") as made, open_places(workspace) as stores:
        for entry in (stores.cache if stores.cache.has(version) else stores.remote).entries(version):
            path = Path(made) / entry.path
            path.parent.mkdir(parents=True, exist_ok=True)
            place = stores.cache if stores.cache.has(entry.oid) else stores.remote
            path.write_bytes(place.read(entry.oid))
        yield Path(made)
