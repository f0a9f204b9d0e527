"""Rules for single rows and documents, and for a row's `expect`."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from sluice.core.text import NAME, RULE
from sluice.data.rows import Document, ExpectedBehaviour, Row
from sluice.data.scanning import LocatedRecord, ValidationIssue

_IS_ID = re.compile(r"\S+").fullmatch
_ID = "id is blank or has white space"


def check_rows(rows: Sequence[LocatedRecord[Row]], documents: dict[str, Document]) -> list[ValidationIssue]:
    return [placed.fault(what) for placed in rows for wrong, what in _of_row(placed.value, documents) if wrong]


def _of_row(row: Row, documents: dict[str, Document]) -> list[tuple[Any, str]]:
    """Return each rule as what breaks it, and the message."""
    key = row.expect.answer_key if row.expect else ()
    known = [documents[doc_id] for doc_id in row.doc_ids if doc_id in documents]
    unknown = [doc_id for doc_id in row.doc_ids if doc_id not in documents]
    # The model could repeat it to every user, and the evaluation has no tenant.
    private = [document.id for document in known if document.tenant is not None]
    # Whether a missing document held the answer is unknown: one fault, not two.
    complete = known and not unknown and not key
    unfound = [a for a in row.answers if complete and not any(occurs(a, document.text) for document in known)]
    unkeyed = [a for a in row.answers if key and not states_key(a, key)]
    unturned = [turn.role for turn in row.history] != ["user", "assistant"] * (len(row.history) // 2)
    groundless = row.answerable and not row.doc_ids and not key
    return [
        (not _IS_ID(row.id), _ID),
        (not row.question.strip(), "question is blank"),
        (_any_blank(row.answers), "an answer is blank"),
        (len(set(row.answers)) < len(row.answers), "the same answer twice"),
        (len(set(row.doc_ids)) < len(row.doc_ids), "the same document twice"),
        (_any_blank(row.tags), "a tag is blank"),
        (unknown, f"doc_ids: no such document: {_quoted(unknown)}"),
        (private, f"doc_ids: one tenant's document, the model is for all: {_quoted(private)}"),
        (unfound, f"answer is not in its documents: {_quoted(unfound)}"),
        (unkeyed, f"expect.answer_key: the answer does not state it: {_quoted(unkeyed)}"),
        (unturned, "history: is not user, assistant, … in turn"),
        (groundless, "a row with answers needs the doc_ids they come from"),
        (not row.answerable and row.doc_ids, "a row without answers (decline) must have no doc_ids"),
    ]


def check_documents(documents: Sequence[LocatedRecord[Document]]) -> list[ValidationIssue]:
    faults = []
    for placed in documents:
        one = placed.value
        texts = {"title": one.title, "licence": one.licence, "source": one.source}
        rules = [
            (not _IS_ID(one.id), _ID),
            *((not text.strip(), f"{name} is blank") for name, text in texts.items()),
            (not one.text.strip(), "no text after the front matter"),
            (one.tenant is not None and not NAME.fullmatch(one.tenant), f"tenant {one.tenant!r}: use {RULE}"),
            (one.id != placed.path.stem, f"id {one.id!r} does not equal the file name"),
        ]
        faults += [placed.fault(what) for wrong, what in rules if wrong]
    return faults


def occurs(answer: str, text: str) -> bool:
    """Return whether a text has an answer as whole words, whatever its case and white space."""
    answer, text = " ".join(answer.split()).casefold(), " ".join(text.split()).casefold()
    at = text.find(answer)
    while answer and at >= 0:
        end = at + len(answer)
        if not (_joined(text[at - 1 : at], answer[0]) or _joined(answer[-1], text[end : end + 1])):
            return True
        at = text.find(answer, at + 1)
    return False


def _joined(left: str, right: str) -> bool:
    """Return whether two neighbours belong to one word. Scripts that write no spaces never do."""
    return left.isalnum() and right.isalnum() and left.isascii() and right.isascii()


def _any_blank(values: Collection[str]) -> bool:
    return not all(value.strip() for value in values)


def _quoted(values: Collection[str]) -> str:
    return ", ".join(map(repr, values))


_ALIKE = str.maketrans("-\u2010\u2011\u2012\u2013\u2014\u2212‘’“”", " " * 7 + "''" + '""')


def states_key(text: str, key: Iterable[Iterable[str]]) -> bool:
    """Return whether a text states every fact of a row's `expect.answer_key`, by one of its texts each."""
    held = _alike(text)
    return all(any(_states(held, _alike(one)) for one in fact) for fact in key)


def _alike(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text.translate(_ALIKE)).casefold().split())


def _states(held: str, one: str) -> bool:
    before, after = r"(?<!\d)" if one[:1].isdigit() else "", r"(?!\d)" if one[-1:].isdigit() else ""
    return bool(re.search(before + re.escape(one) + after, held))


def check_expectations(rows: Sequence[LocatedRecord[Row]]) -> list[ValidationIssue]:
    return [placed.fault(what) for placed in rows if placed.value.expect for what in faults_of(placed.value.expect)]


def faults_of(expect: ExpectedBehaviour) -> list[str]:
    """Return the faults of `expect`, each as `expect.key: fault`."""
    if expect == ExpectedBehaviour():
        return ["expect: holds no check; leave it out"]
    faults = []
    for key, values in (("contains", expect.contains), ("not_contains", expect.not_contains)):
        if _any_blank(values):
            faults.append(f"expect.{key}: a text is blank")
    banned = [text.casefold() for text in expect.not_contains if text.strip()]
    both = [text for text in expect.contains if any(part in text.casefold() for part in banned)]
    faults += [f"expect: {text!r} is both wanted (contains) and not wanted (not_contains)" for text in both]
    if expect.regex is not None and (what := fault_of_regex(expect.regex)):
        faults.append(f"expect.regex: {what}")
    if expect.json_schema is not None and (what := fault_of_schema(expect.json_schema)):
        faults.append(f"expect.json_schema: {what}")
    if any(not fact or _any_blank(fact) for fact in expect.answer_key):
        faults.append("expect.answer_key: a fact has no text, or a blank one")
    if expect.rubric is not None and not expect.rubric.strip():
        faults.append("expect.rubric: is blank")
    return faults


def fault_of_regex(pattern: str) -> str | None:
    import regex

    if not pattern:
        return "is empty and would match every answer"
    try:
        regex.compile(pattern)
    except regex.error as error:
        return f"{pattern!r} is no regular expression: {error.msg} at position {error.pos}"
    return None


def fault_of_schema(schema: dict[str, Any]) -> str | None:
    from jsonschema import Draft202012Validator, SchemaError
    from jsonschema.validators import validator_for

    if not schema:
        return "is empty and would accept every JSON"
    try:
        validator_for(schema, default=Draft202012Validator).check_schema(schema)
    except SchemaError as error:
        return f"is no JSON Schema: {error.json_path}: {error.message}"
    return None
