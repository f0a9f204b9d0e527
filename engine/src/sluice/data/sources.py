"""Where questions came from: sources.jsonl beside them, one line an import. Documents say it in their front matter."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, ValidationError

from sluice.core.digests import digest_of_file
from sluice.core.files import write_jsonl
from sluice.core.settings import Settings
from sluice.data.rows import Fault, read_text

FILE = "sources.jsonl"


class Source(Settings):
    """One import of rows. `file` and `sha256`: what was read; `source`: where it is from."""

    file: str = Field(min_length=1)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    rows: int = Field(ge=1)
    licence: str = Field(min_length=1)
    source: str = Field(min_length=1)


def place_of(rows: Path) -> Path:
    """Where the source of an imported file of rows is kept: `new.jsonl` has `new.sources.jsonl`."""
    return rows.with_suffix(f".{FILE}")


def record(rows: Path, read: Path, number: int, *, licence: str, source: str) -> Source:
    """Writes the source of the `number` rows that were read from `read` beside `rows`."""
    kept = Source(file=read.name, sha256=digest_of_file(read), rows=number, licence=licence, source=source)
    write_jsonl(place_of(rows), [kept.model_dump()])
    return kept


def scan_sources(path: Path) -> tuple[list[Source], list[Fault]]:
    """The lines of a sources.jsonl that can be read, and a fault for each that cannot; no file is no fault."""
    if not path.exists():
        return [], []
    text, faults = read_text(path)
    sources = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            sources.append(Source.model_validate_json(line))
        except ValidationError as error:
            for fault in error.errors():
                place = ".".join(map(str, fault["loc"]))
                faults.append(Fault(path, number, f"{place}: {fault['msg']}" if place else str(fault["msg"])))
    return sources, faults
