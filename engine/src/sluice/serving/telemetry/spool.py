"""Traces on disk until an import: files of JSON lines under .sluice/traces/, one series for each process.

A file is `<time>-<pid>.part` while it is written and `.jsonl` when it is complete, after ten seconds or 8 MiB. All
files together never exceed a limit. A full disk loses only the lines that did not fit.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from sluice.serving.telemetry.background_queue import BatchLostError

_PART = ".part"
WHOLE = ".jsonl"
_LONGEST_SECONDS = 10.0
_LARGEST_BYTES = 8 << 20


class TraceSpool:
    """The writing side. Used by one thread."""

    def __init__(self, folder: Path, *, most_bytes: int) -> None:
        self._folder = folder
        self._most = most_bytes
        self._stream: BinaryIO | None = None
        self._path = folder
        self._opened = 0.0
        self._size = 0
        self._number = 0

    def write(self, lines: Sequence[bytes]) -> None:
        """All lines or none. LostError when there is no room, or the disk does not take them."""
        content = b"".join(lines)
        try:
            if self._size >= _LARGEST_BYTES:
                self._finish()
            self.age()
            if self._used() + len(content) > self._most:
                raise BatchLostError(
                    "spool_full", f"{self._folder} holds {self._most >> 20} MiB; `sluice traces push` loads it"
                )
            stream = self._stream or self._open()
            rest = memoryview(content)
            while rest:  # nearly full disks take a part, and refuse the next
                rest = rest[stream.write(rest) :]
            self._size += len(content)
        except OSError as error:
            self._give_up()
            raise BatchLostError("disk", f"{self._folder}: {error.strerror or error}") from None

    def age(self) -> None:
        """Makes the file whole when it is old enough, so that it can be loaded while the service is idle."""
        if self._stream and time.monotonic() - self._opened > _LONGEST_SECONDS:
            self._finish()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._finish()

    def _used(self) -> int:
        return sum(path.stat().st_size for path in self._folder.glob("*") if path.is_file())

    def _open(self) -> BinaryIO:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._number += 1
        self._path = self._folder / f"{time.time_ns()}-{os.getpid()}-{self._number}{_PART}"
        self._stream = self._path.open("xb", buffering=0)
        self._opened, self._size = time.monotonic(), 0
        return self._stream

    def _finish(self) -> None:
        if self._stream:
            stream, self._stream = self._stream, None
            stream.close()
            self._path.rename(self._path.with_suffix(WHOLE))

    def _give_up(self) -> None:
        """Cuts a half-written line off, so that what was written before can still be loaded."""
        if self._stream:
            with contextlib.suppress(OSError):
                os.ftruncate(self._stream.fileno(), self._size)
            self.close()
            self._stream = None


def waiting(folder: Path) -> list[Path]:
    """Whole files, oldest first. What a killed process left half-written becomes whole by this call."""
    for part in folder.glob(f"*{_PART}"):
        try:
            os.kill(int(part.stem.split("-")[1]), 0)
        except ProcessLookupError:
            with contextlib.suppress(FileNotFoundError):
                part.rename(part.with_suffix(WHOLE))
        except (PermissionError, ValueError, IndexError):
            continue  # it lives, or it is not ours
    return sorted(folder.glob(f"*{WHOLE}"))
