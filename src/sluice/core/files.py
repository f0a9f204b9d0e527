"""Files that are either whole or not there."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sluice.core.errors import SluiceError


def write_atomic(path: Path, content: bytes | str) -> None:
    """Writes through a temporary file in the same folder, syncs, renames. A full disk leaves the old file in place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with draft.open("wb") as stream:
            stream.write(content.encode() if isinstance(content, str) else content)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise SluiceError(
                f"{path.parent}: no space left on the disk", remedy="free some space and run it again"
            ) from error
        raise


def write_json(path: Path, value: Any) -> None:
    """Indented JSON for people and diffs, written atomically."""
    write_atomic(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Parsed JSON; a missing or broken file is a SluiceError that names it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SluiceError(f"{path}: no such file") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise SluiceError(f"{path}: not valid JSON: {error}") from None


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """One object a line; blank lines are skipped; a broken line is a SluiceError with its number."""
    rows: list[dict[str, Any]] = []
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SluiceError(f"{path}: no such file") from None
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise SluiceError(f"{path}:{number}: not valid JSON: {error.msg}") from None
        if not isinstance(row, dict):
            raise SluiceError(f"{path}:{number}: expected an object, found {type(row).__name__}")
        rows.append(row)
    return rows


def write_jsonl(path: Path, rows: Iterable[Any]) -> None:
    """One compact object a line, written atomically."""
    write_atomic(path, "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows))
