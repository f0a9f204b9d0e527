"""Reads files of records and keeps every fault with its place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from sluice.core.errors import ValidationErrors
from sluice.core.settings import Settings, nearest

T = TypeVar("T")
M = TypeVar("M", bound=Settings)


@dataclass(frozen=True, order=True)
class ValidationIssue:
    path: Path
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}"


@dataclass(frozen=True)
class LocatedRecord(Generic[T]):
    """A row or document with its file and line; a document's `line` is where its body starts."""

    value: T
    path: Path
    line: int

    def fault(self, what: str) -> ValidationIssue:
        return ValidationIssue(self.path, self.line, what)


def require_whole(path: Path, scanned: tuple[list[LocatedRecord[T]], list[ValidationIssue]]) -> list[T]:
    """Return the records of a file or folder without a fault."""
    found, faults = scanned
    if faults:
        raise ValidationErrors(
            str(path),
            [str(fault) for fault in sorted(faults)],
            remedy="correct the lines above; see engine/docs/reference/data.md",
        )
    return [placed.value for placed in found]


def read_text(path: Path) -> tuple[str, list[ValidationIssue]]:
    try:
        content = path.read_bytes()
    except OSError as error:
        return "", [ValidationIssue(path, 1, f"cannot be read: {error.strerror}")]
    try:
        return content.decode("utf-8"), []
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        what = f"not UTF-8 text ({error.reason}, byte {error.start} of the file): save it as UTF-8"
        return "", [ValidationIssue(path, line, what)]


def scan_lines(
    path: Path, parse: Callable[[str], tuple[T | None, list[str]]]
) -> tuple[list[LocatedRecord[T]], list[ValidationIssue]]:
    text, faults = read_text(path)
    if faults:
        return [], faults
    found: list[LocatedRecord[T]] = []
    # Only "\n" ends a line: str.splitlines would also cut at U+2028, which JSON allows inside a string.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            record, whats = parse(line)
            faults += [ValidationIssue(path, number, what) for what in whats]
            if record:
                found.append(LocatedRecord(record, path, number))
    if not found and not faults:
        faults.append(ValidationIssue(path, 1, "no rows"))
    return found, faults


def parse_line(model: type[M], line: str, keys: Sequence[str] = ()) -> tuple[M | None, list[str]]:
    try:
        return model.model_validate_json(line, strict=True), []
    except ValidationError as error:
        return None, [describe(dict(fault), keys or list(model.model_fields)) for fault in error.errors()]


def describe(fault: dict[str, Any], keys: Sequence[str]) -> str:
    place = ".".join(str(part) for part in fault["loc"]) or "row"
    if fault["type"] == "extra_forbidden":
        return f"unknown key {place!r}{nearest(place, list(keys))}"
    if fault["type"] == "missing":
        return f"key {place!r} is missing"
    return f"{place}: {fault['msg']}, found {fault['input']!r:.200}"
