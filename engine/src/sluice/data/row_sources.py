"""Sources of imported questions: sources.jsonl beside the rows, one line for each import. Documents name theirs in the
front matter."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from pydantic import Field

from sluice.core.atomic_files import write_jsonl
from sluice.core.digests import digest_of_file
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


def sources_file(rows: Path) -> Path:
    """Where the source of an imported file of rows is kept: `new.jsonl` has `new.sources.jsonl`."""
    return rows.with_suffix(f".{FILE}")


def record(rows: Path, read: Path, number: int, *, licence: str, source: str) -> ImportSource:
    """Writes the source of imported rows beside them.

    Args:
        rows: file of the rows.
        read: file that they were read from.
        number: of the rows.
        licence: of what was read.
        source: where that is from.
    """
    kept = ImportSource(file=read.name, sha256=digest_of_file(read), rows=number, licence=licence, source=source)
    write_jsonl(sources_file(rows), [kept.model_dump()])
    return kept


def scan_sources(path: Path) -> tuple[list[ImportSource], list[ValidationIssue]]:
    """The lines of a sources.jsonl that can be read, and a fault for each that cannot; no file is no fault."""
    if not path.exists():
        return [], []
    found, faults = scan_lines(path, partial(parse_line, ImportSource))
    return [placed.value for placed in found], faults
