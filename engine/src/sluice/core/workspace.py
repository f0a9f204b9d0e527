"""Paths in a checkout, and the lock that prevents two concurrent releases."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sluice.core.errors import SluiceError
from sluice.core.removed import refuse_files

# What pins the wheel of an installed engine, and a copy of it for the wheel that was unpacked into engine/.
LOCK, MARKER = "config/engine.lock", ".sluice/engine.lock"


class _Below:
    def __init__(self, path: str) -> None:
        self._path = path

    def __get__(self, workspace: Workspace, owner: type) -> Path:
        return workspace.root / self._path


@dataclass(frozen=True)
class Workspace:
    """Paths of one checkout. `state` (.sluice/) is local to the machine and never committed."""

    root: Path

    @classmethod
    def find(cls, start: Path | None = None) -> Workspace:
        """Return the checkout around `start`, by default the current folder; refuse a wrong engine and removed config
        files."""
        if found := cls.around(start):
            lock, marker = found.root / LOCK, found.root / MARKER
            if lock.is_file() and (not marker.is_file() or marker.read_bytes() != lock.read_bytes()):
                raise SluiceError(f"{found.engine}: not the engine that {LOCK} pins", remedy="install it: make setup")
            refuse_files(found.config)
            return found
        here = (start or Path.cwd()).resolve()
        raise SluiceError(f"{here}: not inside a Sluice checkout", remedy="run it from a clone of the repository")

    @classmethod
    def around(cls, start: Path | None = None) -> Workspace | None:
        """Return the checkout around a folder: it has prompts/ and pyproject.toml."""
        here = (start or Path.cwd()).resolve()
        for folder in (here, *here.parents):
            if (folder / "prompts").is_dir() and (folder / "pyproject.toml").is_file():
                return cls(folder)
        return None

    @property
    def code(self) -> str:
        """PYTHONPATH of the code of this checkout, its own and the engine's, before what the caller's holds."""
        folders = [str(self.root / "src"), str(self.engine / "src"), os.environ.get("PYTHONPATH", "")]
        return os.pathsep.join(filter(None, folders))

    engine = _Below("engine")
    prompts = _Below("prompts")
    config = _Below("config")
    data = _Below("data")
    build = _Below("build")
    params = _Below("pipelines/params.yaml")
    state = _Below(".sluice")
    releases = _Below(".sluice/releases")

    @property
    def cache(self) -> Path:
        """Downloaded models, shared by all checkouts of a user. SLUICE_CACHE moves it."""
        if named := os.environ.get("SLUICE_CACHE"):
            return Path(named)
        base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
        return Path(base) / "sluice"

    @contextmanager
    def exclusive(self, work: str = "release") -> Iterator[None]:
        """Hold the checkout for one release, or one `work`, at a time. The kernel frees the lock when its process
        dies."""
        from filelock import FileLock, Timeout

        path = self.state / ("lock" if work == "release" else f"{work}.lock")
        try:
            held = FileLock(path, timeout=0).acquire()
        except Timeout:
            said = f"{path}: another {work} runs in this checkout (process {path.read_text().strip()})"
            raise SluiceError(said, remedy="wait for it, or stop it with Ctrl-C where it runs") from None
        with held:
            path.write_text(str(os.getpid()))
            yield
