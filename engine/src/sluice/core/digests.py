"""Content digests: one canonical form, one hash, used for everything a release pins."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any


def canonical_json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest_of(value: Any) -> str:
    """Return the hex sha256 over the canonical JSON of `value`."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def digest_of_file(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_of_code(*folders: Path) -> str:
    """Return the hex sha256 over the Python files below the folders, by their paths."""
    files = {str(path.relative_to(folder.parent)): path for folder in folders for path in folder.rglob("*.py")}
    return digest_of({name: digest_of_file(path) for name, path in files.items()})
