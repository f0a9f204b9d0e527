"""Sources of imported questions: sources.jsonl beside the rows, one line for each import. Documents name theirs in the
front matter."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from pydantic import Field

from sluice.core.settings import Settings
from sluice.data.scanning import ValidationIssue, parse_line, scan_lines

FILE = "sources.jsonl"


class ImportSource(Settings):
    """One import of rows. `file` and `sha256`: what was read; `source`: where it is from."""

    file: str = Field(min_length=1)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    rows: int = Field(ge=1)
    licence: str = Field(min_length=1)
    source: str = Field(min_length=1)


def scan_sources(path: Path) -> tuple[list[ImportSource], list[ValidationIssue]]:
    """The lines of a sources.jsonl that can be read, and a fault for each that cannot; no file is no fault."""
    if not path.exists():
        return [], []
    found, faults = scan_lines(path, partial(parse_line, ImportSource))
    return [placed.value for placed in found], faults
