"""Atomic file writes: a file is complete or absent."""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from sluice.core.errors import SluiceError


def write_atomic(path: Path, content: bytes | str, *, sync: bool = True, mode: int = 0o666) -> None:
    """Write, sync and rename a temporary file. A full disk leaves the old file in place."""
    raw = content.encode() if isinstance(content, str) else content
    draft = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_native_id()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(draft, "wb", opener=partial(os.open, mode=mode)) as stream:
            stream.write(raw)
            if sync:
                stream.flush()
                os.fsync(stream.fileno())
        draft.replace(path)
    except BaseException as error:
        draft.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            remedy = "free some space and run it again"
            raise SluiceError(f"{path.parent}: no space left on the disk", remedy=remedy) from error
        raise


def write_json(path: Path, value: Any) -> None:
    write_atomic(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Parse JSON; a missing or broken file is a SluiceError that names it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SluiceError(f"{path}: no such file") from None
    except (ValueError, RecursionError) as error:  # the latter says where it is nested too deeply
        raise SluiceError(f"{path}: not valid JSON: {error}") from None


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Parse one object per line and skip blank lines; a broken line is a SluiceError with its number."""
    rows: list[dict[str, Any]] = []
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SluiceError(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        raise SluiceError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    # Only "\n" ends a line: str.splitlines would also cut at U+2028, which JSON allows inside a string.
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise SluiceError(f"{path}:{number}: not valid JSON: {getattr(error, 'msg', error)}") from None
        if not isinstance(row, dict):
            raise SluiceError(f"{path}:{number}: expected an object, found {type(row).__name__}")
        rows.append(row)
    return rows


def write_jsonl(path: Path, rows: Iterable[Any]) -> None:
    write_atomic(path, "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows))
