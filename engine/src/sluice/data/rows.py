"""Rows and documents of the dataset: reading and writing.

`load_rows` and `load_corpus` raise with all faults of their file or folder. `scan_rows` and `scan_corpus` never raise:
they return readable records together with the faults."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError
from pydantic_core import from_json

from sluice.core.atomic_files import write_atomic, write_jsonl
from sluice.core.settings import Settings, bounded_yaml
from sluice.data.scanning import (
    LocatedRecord,
    ValidationIssue,
    describe,
    parse_line,
    read_text,
    require_whole,
    scan_lines,
)

FRONT_MATTER = re.compile(r"---[ \t]*\n(.*?)^---[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)


class ExpectedBehaviour(Settings):
    """The demands on one answer beside being right. Each key is checked by the metric of its name.

    `contains`, `not_contains`: texts, compared without case; `regex`: found anywhere in the answer; `json_schema`: the
    whole answer is JSON that fits; `rubric`: what the judge is to go by, in place of the general rubric; `answer_key`:
    the facts of a right answer, each as the texts that may state it; `tools`: of the extra of that name.
    """

    contains: tuple[str, ...] = ()
    not_contains: tuple[str, ...] = ()
    regex: str | None = None
    json_schema: dict[str, Any] | None = None
    rubric: str | None = None
    answer_key: tuple[tuple[str, ...], ...] = ()
    tools: dict[str, Any] | None = None


class EarlierMessage(Settings):
    role: Literal["user", "assistant"]
    content: str


class Provenance(Settings):
    """The origin of a generated row: `teacher` as provider/model, or "template"; `prompt` the digest of its wording, or
    the template; `document` the sha256 of the document's text; `review` a person's decision, "" before there is one."""

    teacher: str
    prompt: str
    document: str
    seed: int
    review: Literal["", "accepted", "edited"] = ""


class Row(Settings):
    """One question. No answers means: the corpus does not say, decline."""

    id: str
    question: str
    answers: tuple[str, ...]
    doc_ids: tuple[str, ...]
    tags: tuple[str, ...] = ()
    expect: ExpectedBehaviour | None = None
    provenance: Provenance | None = None
    history: tuple[EarlierMessage, ...] = ()

    @property
    def answerable(self) -> bool:
        return bool(self.answers)

    @property
    def conversation(self) -> list[dict[str, str]]:
        """The messages to ask: those before, and the question."""
        return [*(turn.model_dump() for turn in self.history), {"role": "user", "content": self.question}]

    @property
    def in_context(self) -> str:
        """A line for the question, behind the one before it and its reply: `And how long?` alone says little."""
        return "\n".join(" ".join(text.split()) for text in (*(t.content for t in self.history[-2:]), self.question))

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON, without optional keys that are empty, so that a row without them keeps its digest."""
        said = self.model_dump(mode="json", exclude_defaults=True)
        return {key: said.get(key, []) for key in Row.model_fields if key in said or key == "tags"}


class FrontMatter(Settings):
    """The block before the text of a document. Without a `tenant` it is for everybody."""

    id: str
    title: str
    licence: str
    source: str
    tenant: str | None = None


class Document(FrontMatter):
    text: str


ROW_KEYS = [
    *Row.model_fields,
    *(f"expect.{key}" for key in ExpectedBehaviour.model_fields),
    *(f"provenance.{key}" for key in Provenance.model_fields),
]

# The status of a row made by `sluice data harvest` or `start` and not yet reviewed: no part of the data.
PROPOSED = "proposed"


def load_rows(path: Path) -> list[Row]:
    return require_whole(path, scan_rows(path))


def load_corpus(folder: Path) -> list[Document]:
    return sorted(require_whole(folder, scan_corpus(folder)), key=lambda document: document.id)


def scan_rows(path: Path) -> tuple[list[LocatedRecord[Row]], list[ValidationIssue]]:
    return scan_lines(path, parse_row)


def parse_row(line: str) -> tuple[Row | None, list[str]]:
    """Return the row in one line of JSON, or what is wrong with it."""
    try:
        value = from_json(line, allow_inf_nan=False)
    except ValueError as error:
        return None, [f"not valid JSON: {error}"]
    if not isinstance(value, dict):
        return None, [f"expected an object, found {type(value).__name__}"]
    if value.get("status") == PROPOSED:
        return None, ["is only proposed: a person reads it, corrects it, and takes its key 'status' out"]
    return parse_line(Row, line, ROW_KEYS)


def scan_corpus(
    folder: Path, *, max_bytes: int | None = None
) -> tuple[list[LocatedRecord[Document]], list[ValidationIssue]]:
    if not folder.is_dir():
        return [], [ValidationIssue(folder, 1, "no such folder")]
    documents: list[LocatedRecord[Document]] = []
    faults: list[ValidationIssue] = []
    inside = folder.resolve()
    paths = [path for path in sorted(folder.rglob("*.md")) if path.is_file() and inside in path.resolve().parents]
    for path in paths:
        if max_bytes is not None and path.stat().st_size > max_bytes:
            continue
        document, found = _scan_document(path)
        faults += found
        if document:
            documents.append(document)
    if not paths:
        faults.append(ValidationIssue(folder, 1, "no documents (*.md)"))
    return documents, faults


def _scan_document(path: Path) -> tuple[LocatedRecord[Document] | None, list[ValidationIssue]]:
    text, faults = read_text(path)
    if faults:
        return None, faults
    text = text.replace("\r\n", "\n")
    match = FRONT_MATTER.match(text)
    if not match:
        keys = ", ".join(name for name, field in FrontMatter.model_fields.items() if field.is_required())
        return None, [
            ValidationIssue(path, 1, f"no front matter: expected a block between two lines '---' with the keys {keys}")
        ]
    try:
        head, lines = bounded_yaml(match[1])
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        what = f"front matter is not valid YAML: {getattr(error, 'problem', error)}"
        return None, [ValidationIssue(path, mark.line + 2 if mark else 1, what)]
    if not isinstance(head := head or {}, dict):
        return None, [ValidationIssue(path, 2, f"front matter: expected keys and values, found {type(head).__name__}")]
    body = text[match.end() :]
    try:
        document = Document(**dict(FrontMatter.model_validate(head, strict=True)), text=body.strip())
    except ValidationError as error:
        known = list(FrontMatter.model_fields)
        return None, [
            ValidationIssue(
                path, lines.get((str(fault["loc"][0]),), 0) + 1, f"front matter: {describe(dict(fault), known)}"
            )
            for fault in error.errors()
        ]
    first = body[: len(body) - len(body.lstrip())].count("\n") if body.strip() else 0
    return LocatedRecord(document, path, text[: match.end()].count("\n") + first + 1), []


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    write_jsonl(path, (row.as_dict() for row in rows))


def write_document(folder: Path, document: Document) -> None:
    head = yaml.safe_dump(
        document.model_dump(exclude={"text"}, exclude_none=True),
        sort_keys=False,
        allow_unicode=True,
        width=1 << 16,
    )
    write_atomic(folder / f"{document.id}.md", f"---\n{head}---\n\n{document.text.strip()}\n")


SOURCES = "sources.jsonl"


class ImportSource(Settings):
    """One import of rows. `file` and `sha256`: what was read; `source`: where it is from."""

    file: str = Field(min_length=1)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    rows: int = Field(ge=1)
    licence: str = Field(min_length=1)
    source: str = Field(min_length=1)


def scan_sources(path: Path) -> tuple[list[ImportSource], list[ValidationIssue]]:
    """Read the lines of a sources.jsonl; a missing file is no fault."""
    if not path.exists():
        return [], []
    found, faults = scan_lines(path, partial(parse_line, ImportSource))
    return [placed.value for placed in found], faults
