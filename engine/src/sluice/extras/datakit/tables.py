"""Imports questions from a table (.csv, .tsv) or JSON lines (.jsonl) as proposed rows: `sluice data import`."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sluice.core.atomic_files import write_atomic, write_jsonl
from sluice.core.digests import digest_of_file
from sluice.core.errors import SluiceError, ValidationErrors
from sluice.core.settings import nearest
from sluice.data import contract
from sluice.data.contract import check_rows_privacy
from sluice.data.privacy import DataPolicy, PrivacyPolicy, redact
from sluice.data.row_rules import check_expectations, check_rows, occurs
from sluice.data.rows import Document, ImportSource, Row, load_corpus, parse_row, scan_rows
from sluice.data.scanning import LocatedRecord, ValidationIssue, read_text, scan_lines
from sluice.extras.datakit.proposals import proposed_lines, sources_of

SUFFIXES = (".csv", ".tsv", ".jsonl")
_DELIMITERS = ",;\t"
_KEYS = tuple(Row.model_fields)
_LISTS = ("answers", "doc_ids", "tags")
_OBJECTS = ("expect", "provenance", "history")
_REQUIRED = ("question", "answers")
_Record = LocatedRecord[dict[str, Any]]  # values by column
_Placed = LocatedRecord[Row]


def redact_row(row: Row, policy: PrivacyPolicy) -> Row:
    answers = tuple(dict.fromkeys(redact(answer, policy) for answer in row.answers))
    return row.model_copy(update={"question": redact(row.question, policy), "answers": answers})


@dataclass(frozen=True)
class TableLayout:
    """The layout of a file; `columns` maps row keys to column names, a `delimiter` of "" is detected, `separator`
    splits lists, `tags` are added to every row."""

    columns: Mapping[str, str] = field(default_factory=dict)
    delimiter: str = ""
    separator: str = "|"
    tags: tuple[str, ...] = ()

    def column(self, key: str) -> str:
        return self.columns.get(key, key)


def parse_columns(pairs: Sequence[str]) -> dict[str, str]:
    columns: dict[str, str] = {}
    for pair in pairs:
        key, _, column = pair.partition("=")
        if not column or key not in _KEYS or key in columns:
            what = f"--column {pair!r}: expected key=column, each key once{nearest(key, list(_KEYS))}"
            raise SluiceError(what, remedy=f"the keys are {', '.join(_KEYS)}")
        columns[key] = column
    return columns


def import_table(
    source: Path, out: Path, data: Path, layout: TableLayout, *, licence: str, origin: str, policy: DataPolicy
) -> dict[str, Any]:
    """Write the rows of a table as proposed rows, and their source to a file beside them; return a report.

    With one unreadable row, nothing is written. Rows that break the data contract are left out and reported."""
    if out.exists():
        raise SluiceError(f"{out}: already exists", remedy="remove it, or choose another file")
    train = scan_rows(data / "train.jsonl")[0] if (data / "train.jsonl").exists() else []
    records, faults = _read(source, layout)
    columns = sorted({name for record in records for name in record.value})
    missing = [
        ValidationIssue(source, 1, f"no column {name!r}{nearest(name, columns)}; say it with --column {key}=NAME")
        for key in dict.fromkeys((*_REQUIRED, *layout.columns))
        if (name := layout.column(key)) not in columns and columns and source.suffix.lower() != ".jsonl"
    ]
    rows = _rows(source, [] if missing else records, faults + missing, layout, train)
    corpus = {document.id: document for document in load_corpus(data / "corpus")}
    located = [LocatedRecord(_located(redact_row(row.value, policy.privacy), corpus), source, row.line) for row in rows]
    kept, dropped = keep(located, corpus, train, policy.privacy)
    if not kept:
        raise ValidationErrors(f"{source}: every row was left out", [str(fault) for fault in dropped])
    texts = {"file": source.name, "sha256": digest_of_file(source), "licence": licence, "source": origin}
    write_jsonl(sources_of(out), [ImportSource(rows=len(kept), **texts).model_dump()])
    write_atomic(out, proposed_lines(row.value for row in kept))  # last: rows that are there have their source beside
    named = {row.line for row in rows if row.value.doc_ids}
    return {
        "rows": len(kept),
        "unanswerable": sum(not row.value.answerable for row in kept),
        "located": sum(row.value.answerable and row.line not in named for row in kept),
        "ignored": [name for name in columns if name and name not in map(layout.column, _KEYS)],
        "dropped": [str(fault) for fault in sorted(dropped)],
    }


def keep(
    rows: Sequence[_Placed], corpus: dict[str, Document], train: Sequence[_Placed], policy: PrivacyPolicy
) -> tuple[list[_Placed], list[ValidationIssue]]:
    """Return the rows that keep the contract beside those of training, and the faults of the others."""
    learnt = {doc_id for placed in train for doc_id in placed.value.doc_ids}
    dropped = check_rows(rows, corpus) + check_rows_privacy(rows, policy)
    shared = [(row, doc_id) for row in rows for doc_id in row.value.doc_ids if doc_id in learnt]
    dropped += [row.fault(f"leakage: document {doc_id!r} also serves training") for row, doc_id in shared]
    kept = _without(rows, dropped)
    # Compared last: a row that repeats one which is left out is no repeat.
    files = {row.path for row in rows}
    repeats = [fault for fault in contract.check_questions(train, kept) if fault.path in files]
    return _without(kept, repeats), dropped + repeats


def _without(rows: Sequence[_Placed], faults: Sequence[ValidationIssue]) -> list[_Placed]:
    lost = {fault.line for fault in faults}
    return [row for row in rows if row.line not in lost]


def _located(row: Row, corpus: Mapping[str, Document]) -> Row:
    """Name the document that holds an answer, if the row names none and there is only one."""
    if not row.answers or row.doc_ids:
        return row
    found = [name for name, text in corpus.items() if any(occurs(answer, text.text) for answer in row.answers)]
    return row.model_copy(update={"doc_ids": (found[0],)}) if len(found) == 1 else row


def _rows(
    source: Path, records: list[_Record], faults: list[ValidationIssue], layout: TableLayout, train: Sequence[_Placed]
) -> list[_Placed]:
    rows: list[_Placed] = []
    named: list[_Placed] = []
    for record in records:
        try:
            row, found = parse_row(json.dumps(_fields(record, layout)))
        except ValueError as error:
            row, found = None, [str(error)]
        faults += [record.fault(what) for what in found]
        if row:
            rows.append(LocatedRecord(row, source, record.line))
            named += rows[-1:] if record.value.get(layout.column("id")) else []
    faults += contract.check_duplicate_ids([*train, *named])
    faults += check_expectations(rows)
    if faults:
        lines = [str(fault) for fault in sorted(set(faults))]
        raise ValidationErrors(str(source), lines, remedy="fix the places above; nothing was written")
    return rows


def _fields(record: _Record, layout: TableLayout) -> dict[str, Any]:
    """Return the fields of a row, which Row validates; raise ValueError for a cell that should hold JSON."""
    table = record.path.suffix.lower() != ".jsonl"
    fields: dict[str, Any] = {}
    for key in _KEYS:
        if (value := record.value.get(layout.column(key))) is None:
            continue
        if key in _LISTS and isinstance(value, str):
            parts = value.split(layout.separator) if table else [value]
            value = list(dict.fromkeys(part.strip() for part in parts if part.strip()))
        elif key in _OBJECTS and table:
            if not value.strip():
                continue
            try:
                value = json.loads(value)
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{key}: not valid JSON: {error}") from None
        elif key == "id" or isinstance(value, str):
            value = str(value).strip()
        fields[key] = value
    question = str(fields.get("question", "")).encode(errors="surrogatepass")
    fields["id"] = fields.get("id") or f"q-{hashlib.sha256(question).hexdigest()[:12]}"
    fields.setdefault("doc_ids", [])
    if isinstance(tags := fields.setdefault("tags", []), list):
        more = (*layout.tags, *(() if fields.get("answers") else ("unanswerable",)))
        fields["tags"] = list(dict.fromkeys([*tags, *more]))
    return fields


def _read(path: Path, layout: TableLayout) -> tuple[list[_Record], list[ValidationIssue]]:
    """Return all readable records, and a fault for each other line or a file without a record."""
    if path.suffix.lower() == ".jsonl":
        return scan_lines(path, _object)
    text, faults = read_text(path)
    if faults:
        return [], faults
    text = text.removeprefix("\ufeff")
    # What stands most often between the names of the first line; inside quotes it is no delimiter.
    outside = "".join(text.lstrip().partition("\n")[0].split('"')[::2])
    delimiter = "\t" if path.suffix.lower() == ".tsv" else layout.delimiter or max(_DELIMITERS, key=outside.count)
    records: list[_Record] = []
    columns: list[str] = []
    line = 1
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for cells in reader:
            row = LocatedRecord(dict(zip(columns, cells, strict=False)), path, line)
            if not any(cell.strip() for cell in cells):
                pass  # a blank line
            elif not columns:
                columns = [name.strip() for name in cells]
                twice = [name for name, times in Counter(columns).items() if name and times > 1]
                faults += [row.fault(f"two columns are named {name!r}") for name in twice]
            elif len(cells) == len(columns):
                records.append(row)
            else:
                faults.append(row.fault(f"{len(cells)} cells, but the header has {len(columns)}"))
            line = reader.line_num + 1
    except csv.Error as error:
        faults.append(ValidationIssue(path, line, f"not readable from here on: {error}; is a quote not closed?"))
    return records, faults if records or faults else [ValidationIssue(path, 1, "no rows")]


def _object(line: str) -> tuple[dict[str, Any] | None, list[str]]:
    try:
        value = json.loads(line.removeprefix("\ufeff"))
    except (ValueError, RecursionError) as error:  # the latter: nested too deeply
        return None, [f"not valid JSON: {error}"]
    return (value, []) if value and isinstance(value, dict) else (None, ["expected an object with the keys of a row"])
