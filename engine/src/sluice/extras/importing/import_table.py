"""Imports questions from a table (.csv, .tsv) or from JSON lines (.jsonl) as rows of the project.

An unreadable row is a fault, and with one fault nothing is written. A readable row that would break the data contract
is left out and reported with its line and the reason. Runs as `sluice data import`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sluice.core.atomic_files import write_jsonl
from sluice.core.digests import digest_of_file
from sluice.core.errors import SluiceError, ValidationErrors
from sluice.core.settings import nearest
from sluice.data import leakage
from sluice.data.contract import check_rows_privacy
from sluice.data.data_policy import DataPolicy, PrivacyPolicy
from sluice.data.expectations import check_expectations
from sluice.data.row_rules import check_rows, occurs
from sluice.data.row_sources import FILE as SOURCES
from sluice.data.row_sources import ImportSource
from sluice.data.rows import Document, Row, load_corpus, parse_row, scan_rows, write_rows
from sluice.data.scanning import LocatedRecord, ValidationIssue
from sluice.extras.importing.redact_folder import redact_row
from sluice.extras.importing.table_records import TableRecord, TableRecords, read_records

_KEYS = tuple(Row.model_fields)
_LISTS = ("answers", "doc_ids", "tags")
_OBJECTS = ("expect", "provenance")
_REQUIRED = ("question", "answers")


@dataclass(frozen=True)
class TableLayout:
    """How a file is read. `columns`: row key -> column, where they differ; `delimiter`: "" finds it; `separator`:
    between the entries of a cell that holds a list; `tags`: for every row."""

    columns: Mapping[str, str] = field(default_factory=dict)
    delimiter: str = ""
    separator: str = "|"
    tags: tuple[str, ...] = ()

    def column(self, key: str) -> str:
        return self.columns.get(key, key)


@dataclass(frozen=True)
class TableImport:
    """`located`: rows whose document was found by their answer; `ignored`: columns that are no key of a row;
    `dropped`: readable rows that were left out, with place and reason."""

    rows: int
    unanswerable: int
    located: int
    ignored: tuple[str, ...]
    dropped: tuple[ValidationIssue, ...]


def parse_columns(pairs: Sequence[str]) -> dict[str, str]:
    """`key=column` as a mapping; SluiceError for an unknown key and for one that is named twice."""
    columns: dict[str, str] = {}
    for pair in pairs:
        key, _, column = pair.partition("=")
        if not column:
            raise SluiceError(f"--column {pair!r}: expected key=column, such as question=Frage")
        if key not in _KEYS:
            what = f"--column {pair!r}: no key {key!r}{nearest(key, list(_KEYS))}"
            raise SluiceError(what, remedy=f"the keys are {', '.join(_KEYS)}")
        if key in columns:
            raise SluiceError(f"--column {pair!r}: {key!r} has a column already, {columns[key]!r}")
        columns[key] = column
    return columns


def import_table(
    source: Path,
    out: Path,
    data: Path,
    layout: TableLayout,
    *,
    licence: str,
    origin: str,
    policy: DataPolicy = DataPolicy(),
) -> TableImport:
    """Writes the rows of `source` to `out`, which must not exist, and their licence and `origin` (where they are from)
    to a file beside it. `data`: the folder with corpus/ and train.jsonl.

    A row with answers and no documents gets the document that holds an answer, where it is only one. Raises
    ValidationErrors with everything that cannot be read, and when nothing is left.
    """
    if out.exists():
        raise SluiceError(f"{out}: already exists", remedy="remove it, or choose another file")
    train = scan_rows(data / "train.jsonl")[0] if (data / "train.jsonl").exists() else []
    read = read_records(source, layout.delimiter)
    rows = _read_rows(source, read, layout, train)
    corpus = {document.id: document for document in load_corpus(data / "corpus")}
    clean = [LocatedRecord(redact_row(row.value, policy.privacy), row.path, row.line) for row in rows]
    located = [_locate(row, corpus) for row in clean]
    kept, dropped = _keep(located, corpus, train, policy.privacy)
    if not kept:
        raise ValidationErrors(f"{source}: every row was left out", [str(fault) for fault in dropped])
    digest, rest = digest_of_file(source), {"licence": licence, "source": origin}
    beside = ImportSource(file=source.name, sha256=digest, rows=len(kept), **rest)
    write_jsonl(out.with_suffix(f".{SOURCES}"), [beside.model_dump()])  # `new.jsonl` has `new.sources.jsonl`
    write_rows(out, (row.value for row in kept))  # last: rows that are there have their source beside them
    asked_for = {row.line for row in rows if row.value.doc_ids}
    used = {layout.column(key) for key in _KEYS}
    return TableImport(
        rows=len(kept),
        unanswerable=sum(not row.value.answerable for row in kept),
        located=sum(row.value.answerable and row.line not in asked_for for row in kept),
        ignored=tuple(sorted({name for record in read.records for name in record.values} - used)),
        dropped=tuple(sorted(dropped)),
    )


def _read_rows(
    source: Path, read: TableRecords, layout: TableLayout, train: Sequence[LocatedRecord[Row]]
) -> list[LocatedRecord[Row]]:
    """All rows. Raises ValidationErrors with every invalid line and every duplicate id."""
    missing = _missing_columns(source, read, layout)
    faults = read.faults + missing
    rows: list[LocatedRecord[Row]] = []
    named: list[LocatedRecord[Row]] = []
    for record in () if missing else read.records:
        fields, whats = _fields(record, layout, table=read.columns is not None)
        row, found = parse_row(json.dumps(fields)) if not whats else (None, whats)
        faults += [ValidationIssue(source, record.line, what) for what in found]
        if row:
            rows.append(LocatedRecord(row, source, record.line))
            named += rows[-1:] if record.values.get(layout.column("id")) else []
    faults += leakage.check_duplicate_ids([*train, *named])
    faults += check_expectations(rows)
    if not rows and not faults:
        faults = [ValidationIssue(source, 1, "no rows")]
    if faults:
        told = [str(fault) for fault in sorted(set(faults))]
        raise ValidationErrors(str(source), told, remedy="fix the places above; nothing was written")
    return rows


def _missing_columns(source: Path, read: TableRecords, layout: TableLayout) -> list[ValidationIssue]:
    if not read.columns:
        return []
    return [
        ValidationIssue(
            source, 1, f"no column {name!r}{nearest(name, list(read.columns))}; say it with --column {key}=NAME"
        )
        for key in _KEYS
        if (key in _REQUIRED or key in layout.columns) and (name := layout.column(key)) not in read.columns
    ]


def _fields(record: TableRecord, layout: TableLayout, *, table: bool) -> tuple[dict[str, Any], list[str]]:
    """The fields of a row, and what cannot be read as one. What else is wrong with them, Row says."""
    fields: dict[str, Any] = {}
    for key in _KEYS:
        if (value := record.values.get(layout.column(key))) is None:
            continue
        if key in _LISTS and isinstance(value, str):
            parts = value.split(layout.separator) if table else [value]
            value = list(dict.fromkeys(part.strip() for part in parts if part.strip()))
        elif key in _OBJECTS and table:
            try:
                value = json.loads(value) if value.strip() else None
            except json.JSONDecodeError as error:
                return {}, [f"{key}: not valid JSON: {error.msg} (character {error.pos + 1})"]
            except (ValueError, RecursionError) as error:
                return {}, [f"{key}: not readable: {error}"]
        elif key == "id":
            value = str(value).strip()
        elif key == "question" and isinstance(value, str):
            value = value.strip()
        fields[key] = value
    question = str(fields.get("question", "")).encode(errors="surrogatepass")
    fields["id"] = fields.get("id") or f"q-{hashlib.sha256(question).hexdigest()[:12]}"
    fields.setdefault("doc_ids", [])
    if isinstance(tags := fields.setdefault("tags", []), list):
        more = (*layout.tags, *(() if fields.get("answers") else ("unanswerable",)))
        fields["tags"] = list(dict.fromkeys([*tags, *more]))
    return fields, []


def _locate(row: LocatedRecord[Row], corpus: Mapping[str, Document]) -> LocatedRecord[Row]:
    """With the one document that holds an answer, where the row names none."""
    if not row.value.answers or row.value.doc_ids:
        return row
    found = [name for name, text in corpus.items() if any(occurs(answer, text.text) for answer in row.value.answers)]
    if len(found) != 1:
        return row
    return LocatedRecord(row.value.model_copy(update={"doc_ids": (found[0],)}), row.path, row.line)


def _keep(
    rows: list[LocatedRecord[Row]], corpus: dict[str, Document], train: list[LocatedRecord[Row]], policy: PrivacyPolicy
) -> tuple[list[LocatedRecord[Row]], list[ValidationIssue]]:
    """Rows that keep the contract, and why the others do not."""
    learnt = {doc_id for placed in train for doc_id in placed.value.doc_ids}
    dropped = check_rows(rows, corpus) + check_rows_privacy(rows, policy)
    dropped += [
        row.fault(f"leakage: document {doc_id!r} also serves training")
        for row in rows
        for doc_id in row.value.doc_ids
        if doc_id in learnt
    ]
    lost = {fault.line for fault in dropped}
    kept = [row for row in rows if row.line not in lost]
    # Compared last: a row that repeats one which is left out is no repeat.
    repeats = [fault for fault in leakage.check_questions(train, kept) if fault.path == rows[0].path]
    lost = {fault.line for fault in repeats}
    return [row for row in kept if row.line not in lost], dropped + repeats
