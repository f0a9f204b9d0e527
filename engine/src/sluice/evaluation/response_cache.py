"""The response cache: model responses by content, so that no request is sent twice.

One file an entry, `<folder>/<two hex digits>/<key>.json`, so that the folders of two machines can be merged by copying
one into the other. An entry is written atomically, by any number of concurrent processes, and carries a digest over its
key and its value: a truncated, edited or renamed entry counts as missing. Entries are not synced to disk: a killed
process loses none, and the digest detects damage by a power failure.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from sluice.core.atomic_files import write_atomic
from sluice.core.digests import digest_of

FOLDER = "responses"  # below .sluice/
REBUILD = "SLUICE_REBUILD"  # `yes`: everything is built from nothing
MISSING = "missing"  # below the cache: requests that replay found no response for


def rebuilding() -> bool:
    """True where everything is to be built from nothing."""
    return os.environ.get(REBUILD) == "yes"


def responses_folder(state: Path) -> Path:
    """The folder of recorded responses. A rebuild has one of its own, so that it replays nothing older."""
    return state / (f"{FOLDER}-rebuilt" if rebuilding() else FOLDER)


class ResponseCache:
    """Safe for many processes, threads and tasks."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, key: str) -> dict[str, Any] | None:
        """The value, or None when there is none that can be trusted."""
        try:
            entry = json.loads(self._path(key).read_bytes())
            if entry["key"] == key and entry["sha256"] == _seal(key, entry["value"]):
                value: dict[str, Any] = entry["value"]
                return value
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return None

    def put(self, key: str, value: dict[str, Any]) -> None:
        """Keeps an entry, which is there once this has returned."""
        entry = {"key": key, "sha256": _seal(key, value), "value": value}
        write_atomic(self._path(key), json.dumps(entry, ensure_ascii=False, allow_nan=False), sync=False)

    def note_missing(self, key: str, request: dict[str, Any]) -> None:
        """Notes a request that replay found no response for, so that it can be asked elsewhere."""
        path = self.folder / MISSING / f"{key}.json"
        write_atomic(path, json.dumps(request, ensure_ascii=False, allow_nan=False), sync=False)

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.json"


def _seal(key: str, value: Any) -> str:
    return digest_of([key, value])
