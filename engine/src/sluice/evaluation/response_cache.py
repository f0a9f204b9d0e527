"""The response cache: model responses by content, so that no request is sent twice.

An entry is one file that is written atomically and carries a digest over its key and value: a truncated, edited or
renamed entry counts as missing, so entries needn't be synced to disk.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sluice.core.atomic_files import write_atomic
from sluice.core.digests import digest_of
from sluice.core.errors import SluiceError

FOLDER = "responses"  # below .sluice/
REBUILD = "SLUICE_REBUILD"  # `yes`: everything is built from nothing
MISSING = "missing"  # below the cache: requests that replay found no response for


def rebuilding() -> bool:
    return os.environ.get(REBUILD) == "yes"


def responses_folder(state: Path) -> Path:
    """Return the folder of recorded responses; a rebuild has its own, so that it replays nothing older."""
    return state / (f"{FOLDER}-rebuilt" if rebuilding() else FOLDER)


class ResponseCache:
    """A folder of responses. Safe for many processes, threads and tasks."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, key: str) -> dict[str, Any] | None:
        try:
            entry = json.loads(self._path(key).read_bytes())
            if entry["key"] == key and entry["sha256"] == digest_of([key, entry["value"]]):
                value: dict[str, Any] = entry["value"]
                return value
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return None

    def put(self, key: str, value: dict[str, Any]) -> None:
        entry = {"key": key, "sha256": digest_of([key, value]), "value": value}
        write_atomic(self._path(key), json.dumps(entry, ensure_ascii=False, allow_nan=False), sync=False)

    def note_missing(self, key: str, request: dict[str, Any]) -> None:
        """Note a request that replay found no response for, so that it can be asked elsewhere."""
        path = self.folder / MISSING / f"{key}.json"
        write_atomic(path, json.dumps(request, ensure_ascii=False, allow_nan=False), sync=False)

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.json"


class NotRecordedError(SluiceError):
    """A request in replay isn't in the cache."""


class NotStartedError(SluiceError):
    """The application can't start, so every other case would fail too."""


@dataclass
class CaseRequest:
    """The record of one case and trial while it is asked; the recorders write to it."""

    trial: int = 0
    keys: list[str] = field(default_factory=list)  # of the entries that were read or made, in order
    live: bool = False  # something was made anew
    responses: int = 0
    kept: int = 0  # responses out of the cache
    seconds: float = 0.0  # of what was read
    first_token_seconds: float = 0.0
    took: tuple[float, float] = (0.0, 0.0)  # the last response: the whole, and until its first token
    drained: float = 0.0  # seconds spent on the rest of a response that nobody waits for
    missed: str = ""  # the request that replay did not find

    @property
    def recorded(self) -> bool:
        return self.kept > 0 or (bool(self.keys) and not self.live)

    def read(self, cache: ResponseCache, key: str) -> dict[str, Any] | None:
        """Return an entry of the cache and add its times to this case; None when there is none."""
        if (kept := cache.get(key)) is not None:
            self.keys.append(key)
            self.seconds += kept["seconds"]
            self.first_token_seconds += kept.get("first_token_seconds", kept["seconds"])
        return kept

    def made(self, key: str) -> None:
        self.keys.append(key)
        self.live = True


_ASKING: ContextVar[CaseRequest | None] = ContextVar("asking", default=None)


@contextmanager
def asking(trial: int) -> Iterator[CaseRequest]:
    """Record the requests made inside, also in threads that are started inside, as those of this trial."""
    record = CaseRequest(trial)
    token = _ASKING.set(record)
    try:
        yield record
    finally:
        _ASKING.reset(token)


def current_asking() -> CaseRequest:
    return _ASKING.get() or CaseRequest()


def times(
    cache: ResponseCache, record: CaseRequest, latency_ms: float, ttft_ms: float | None
) -> tuple[float, float | None]:
    """Return the milliseconds of a whole answer and until its first text.

    An answer out of the cache alone keeps the times of when it was asked; else the time of what was read is added.
    """
    key = digest_of({"times": sorted(record.keys)})  # a sentence is checked before the response is whole, or after
    if record.keys and not record.live and (kept := cache.get(key)) is not None:
        return kept["latency_ms"], kept["ttft_ms"]
    latency_ms += (record.seconds - record.drained) * 1000
    ttft_ms = None if ttft_ms is None else ttft_ms + record.first_token_seconds * 1000
    if record.keys:
        cache.put(key, {"latency_ms": latency_ms, "ttft_ms": ttft_ms})
    return latency_ms, ttft_ms
