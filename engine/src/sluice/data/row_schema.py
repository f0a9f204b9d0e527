"""Rules for a single row and a single document, as pandera schemas over the whole table.

Imports pandera, which takes seconds: import this module inside functions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from operator import not_
from typing import Any

import pandas as pd
import pandera.pandas as pa

from sluice.core.plain_names import NAME, RULE
from sluice.data.expectations import states_key
from sluice.data.near_duplicates import words
from sluice.data.rows import Document, Row
from sluice.data.scanning import LocatedRecord, ValidationIssue

_IS_ID = re.compile(r"\S+").fullmatch


def check_rows(rows: Sequence[LocatedRecord[Row]], documents: dict[str, Document]) -> list[ValidationIssue]:
    """The faults of single rows.

    Args:
        rows: with their places.
        documents: the corpus by id.
    """
    schema = pa.DataFrameSchema(
        {
            "id": pa.Column(str, [_each(_IS_ID, "id is blank or has white space")]),
            "question": pa.Column(str, [_each(_has_text, "question is blank")]),
            "answers": pa.Column(
                object, [_each(_all_text, "an answer is blank"), _each(_all_different, "the same answer twice")]
            ),
            "doc_ids": pa.Column(object, [_each(_all_different, "the same document twice")]),
            "tags": pa.Column(object, [_each(_all_text, "a tag is blank")]),
            "unknown": pa.Column(object, [_each(not_, "doc_ids: no such document: {}")]),
            "private": pa.Column(object, [_each(not_, "doc_ids: one tenant's document, the model is for all: {}")]),
            "unfound": pa.Column(object, [_each(not_, "answer is not in its documents: {}")]),
            "unkeyed": pa.Column(object, [_each(not_, "expect.answer_key: the answer does not state it: {}")]),
            "unturned": pa.Column(bool, [_each(not_, "history: is not user, assistant, … in turn")]),
            "groundless": pa.Column(bool, [_each(not_, "a row with answers needs the doc_ids they come from")]),
            "contradictory": pa.Column(bool, [_each(not_, "a row without answers (decline) must have no doc_ids")]),
        },
        strict=True,
    )
    return _validate(schema, rows, [_facts(placed.value, documents) for placed in rows])


def _facts(row: Row, documents: dict[str, Document]) -> dict[str, Any]:
    key = row.expect.answer_key if row.expect else ()
    known = [documents[doc_id] for doc_id in row.doc_ids if doc_id in documents]
    complete = len(known) == len(row.doc_ids)
    return {
        **{name: getattr(row, name) for name in Row.model_fields if name not in ("expect", "provenance", "history")},
        "unknown": [doc_id for doc_id in row.doc_ids if doc_id not in documents],
        # The model could repeat it to every user, and the evaluation has no tenant.
        "private": [document.id for document in known if document.tenant is not None],
        # Whether a missing document held the answer is unknown: one fault, not two.
        "unfound": []
        if key
        else [a for a in row.answers if known and complete and not any(occurs(a, d.text) for d in known)],
        "unkeyed": [a for a in row.answers if key and not states_key(a, key)],
        "unturned": [turn.role for turn in row.history] != ["user", "assistant"] * (len(row.history) // 2),
        "groundless": row.answerable and not row.doc_ids and not key,
        "contradictory": not row.answerable and bool(row.doc_ids),
    }


def check_documents(documents: Sequence[LocatedRecord[Document]]) -> list[ValidationIssue]:
    """Faults of single documents."""
    texts = {name: pa.Column(str, [_each(_has_text, f"{name} is blank")]) for name in ("title", "licence", "source")}
    schema = pa.DataFrameSchema(
        {
            "id": pa.Column(str, [_each(_IS_ID, "id is blank or has white space")]),
            **texts,
            "text": pa.Column(str, [_each(_has_text, "no text after the front matter")]),
            "mistenanted": pa.Column(object, [_each(not_, f"tenant {{}}: use {RULE}")]),
            "misnamed": pa.Column(object, [_each(not_, "id {} does not equal the file name")]),
        },
        strict=True,
    )
    facts = [
        {
            **placed.value.model_dump(exclude={"tenant"}),
            "mistenanted": [t] if (t := placed.value.tenant) is not None and not NAME.fullmatch(t) else [],
            "misnamed": [placed.value.id] if placed.value.id != placed.path.stem else [],
        }
        for placed in documents
    ]
    return _validate(schema, documents, facts)


def occurs(answer: str, text: str) -> bool:
    """Whether a text holds an answer as whole words; case and the kind of white space do not matter.

    Args:
        answer: that is looked for.
        text: that may hold it.
    """
    answer, text = " ".join(answer.split()).casefold(), " ".join(text.split()).casefold()
    at = text.find(answer)
    while answer and at >= 0:
        end = at + len(answer)
        if not (_joined(text[at - 1 : at], answer[0]) or _joined(answer[-1], text[end : end + 1])):
            return True
        at = text.find(answer, at + 1)
    return False


def _joined(left: str, right: str) -> bool:
    """Whether two neighbours belong to one word. Scripts that write no spaces never do."""
    return left.isalnum() and right.isalnum() and left.isascii() and right.isascii()


def _validate(schema: Any, placed: Sequence[LocatedRecord[Any]], facts: list[dict[str, Any]]) -> list[ValidationIssue]:
    """Runs the schema over the table and brings each failure case back to its file and line."""
    if not facts:
        return []
    try:
        schema.validate(pd.DataFrame(facts), lazy=True)
    except pa.errors.SchemaErrors as errors:
        cases = errors.failure_cases
        named = [", ".join(map(repr, case)) if isinstance(case, list) else "{}" for case in cases["failure_case"]]
        return [
            placed[int(index)].fault(str(check).replace("{}", case))
            for check, case, index in zip(cases["check"], named, cases["index"], strict=True)
        ]
    return []


def _each(holds: Callable[[Any], Any], message: str) -> Any:
    return pa.Check(lambda value: bool(holds(value)), element_wise=True, error=message)


def _has_text(value: str) -> bool:
    return bool(words(value) or value.strip())


def _all_text(values: Collection[str]) -> bool:
    return all(value.strip() for value in values)


def _all_different(values: Collection[str]) -> bool:
    return len(set(values)) == len(values)
