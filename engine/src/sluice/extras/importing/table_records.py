"""Reads tables (.csv, .tsv) and JSON lines (.jsonl) into records with line numbers."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sluice.core.errors import SluiceError
from sluice.data.scanning import ValidationIssue, read_text

SUFFIXES = (".csv", ".tsv", ".jsonl")
_DELIMITERS = ",;\t"


@dataclass(frozen=True)
class TableRecord:
    """Values by column; text in a table, anything in JSON. `line`: where it begins."""

    line: int
    values: dict[str, Any]


@dataclass(frozen=True)
class TableRecords:
    """`columns`: of the header, None where each record names its own."""

    columns: tuple[str, ...] | None
    records: list[TableRecord] = field(default_factory=list)
    faults: list[ValidationIssue] = field(default_factory=list)


def read_records(path: Path, delimiter: str = "") -> TableRecords:
    """Everything readable, and a fault for each line that is not. `delimiter`: of a .csv, found in its first line when
    it is empty. SluiceError for another kind of file."""
    if path.suffix not in SUFFIXES:
        raise SluiceError(f"{path}: not a {', '.join(SUFFIXES)} file")
    text, faults = read_text(path)
    if faults:
        return TableRecords((), faults=faults)
    text = text.removeprefix("\ufeff")
    if path.suffix == ".jsonl":
        return _read_lines(path, text)
    return _read_table(path, text, "\t" if path.suffix == ".tsv" else delimiter or _delimiter(text))


def _read_lines(path: Path, text: str) -> TableRecords:
    read = TableRecords(None)
    # Only "\n" ends a line: str.splitlines would also cut at U+2028, which JSON allows inside a string.
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            read.faults.append(ValidationIssue(path, number, f"not valid JSON: {error.msg} (column {error.colno})"))
            continue
        except RecursionError:
            read.faults.append(ValidationIssue(path, number, "not readable: nested too deeply"))
            continue
        except ValueError as error:  # a number of thousands of digits
            read.faults.append(ValidationIssue(path, number, f"not readable: {error}"))
            continue
        if isinstance(value, dict):
            read.records.append(TableRecord(number, value))
        else:
            read.faults.append(ValidationIssue(path, number, f"expected an object, found {type(value).__name__}"))
    return read


def _delimiter(text: str) -> str:
    """What stands most often between the names of the first line; inside quotes it is no delimiter."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    outside = "".join(first.split('"')[::2])
    return max(_DELIMITERS, key=outside.count)


def _read_table(path: Path, text: str, delimiter: str) -> TableRecords:
    faults: list[ValidationIssue] = []
    rows = _rows(path, text, delimiter, faults)
    if not rows:
        return TableRecords((), faults=faults)
    line, header = rows[0]
    columns = tuple(name.strip() for name in header)
    faults += [
        ValidationIssue(path, line, f"two columns are named {name!r}")
        for name, times in Counter(columns).items()
        if name and times > 1
    ]
    records = []
    for line, cells in rows[1:]:
        if len(cells) == len(columns):
            records.append(TableRecord(line, {name: cell for name, cell in zip(columns, cells, strict=True) if name}))
        else:
            faults.append(ValidationIssue(path, line, f"{len(cells)} cells, but the header has {len(columns)}"))
    return TableRecords(tuple(name for name in columns if name), records, faults)


def _rows(path: Path, text: str, delimiter: str, faults: list[ValidationIssue]) -> list[tuple[int, list[str]]]:
    """Lines and cells of all rows that are not blank; what comes after a broken quote cannot be read."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[tuple[int, list[str]]] = []
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return rows
        except csv.Error as error:
            faults.append(ValidationIssue(path, line, f"not readable from here on: {error}; is a quote not closed?"))
            return rows
        if any(cell.strip() for cell in cells):
            rows.append((line, cells))
