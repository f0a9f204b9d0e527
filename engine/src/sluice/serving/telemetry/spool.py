"""Traces on disk until they are loaded: OTLP's JSON lines in .sluice/traces/, where all files together have a limit.

The processes of a machine append to one file under a lock. Who loads it renames it under that lock first; the next
batch begins another.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sluice.core.atomic_files import append_whole
from sluice.serving.telemetry.export_queue import SpansLostError

OPEN_FILE = "spans.jsonl"  # the file that is appended to


class TraceSpool:
    """The writing side."""

    def __init__(self, folder: Path, *, most_bytes: int) -> None:
        self._folder = folder
        self._most = most_bytes

    def append(self, lines: bytes) -> None:
        """All lines or none. SpansLostError when there is no room, or the disk does not take them."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with locked(self._folder):
                if sum(path.stat().st_size for path in self._folder.iterdir()) + len(lines) > self._most:
                    raise SpansLostError(
                        "spool_full", f"{self._folder} holds {self._most >> 20} MiB: load its files or delete them"
                    )
                append_whole(self._folder / OPEN_FILE, lines)
        except OSError as error:
            raise SpansLostError("disk", f"{self._folder}: {error.strerror or error}") from None


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Nobody else on this machine appends to the folder's files, or renames them."""
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
