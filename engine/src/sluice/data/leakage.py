"""Finds duplicate rows, and evaluation material inside the training set."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

from sluice.data.near_duplicates import repeats_across, repeats_within, words
from sluice.data.rows import Document, Row
from sluice.data.scanning import LocatedRecord, ValidationIssue

T = TypeVar("T", Row, Document)


def check_duplicate_ids(placed: Sequence[LocatedRecord[T]]) -> list[ValidationIssue]:
    """An id names one row, in train and evaluation together, or one document, in all folders of the corpus."""
    return _repeats(placed, lambda one: one.id, "id {key!r} is already used at {place}")


def check_corpus_repeats(documents: Sequence[LocatedRecord[Document]]) -> list[ValidationIssue]:
    """No text twice, whatever its punctuation and case."""
    return _repeats(documents, lambda document: tuple(words(document.text)), "the same text as {place}")


def _repeats(
    placed: Sequence[LocatedRecord[T]], key_of: Callable[[T], Hashable], message: str
) -> list[ValidationIssue]:
    first: dict[Hashable, LocatedRecord[T]] = {}
    faults = []
    for one in placed:
        if key := key_of(one.value):
            earlier = first.setdefault(key, one)
            if earlier is not one:
                faults.append(one.fault(message.format(key=key, place=_place(earlier))))
    return faults


def check_questions(
    train: Sequence[LocatedRecord[Row]], evaluation: Sequence[LocatedRecord[Row]]
) -> list[ValidationIssue]:
    """No question twice: inside one set, or, which is leakage, in both."""
    faults = []
    for rows in (train, evaluation):
        for later, earlier in repeats_within([placed.value for placed in rows]).items():
            faults.append(_same(rows[later], rows[earlier], ""))
    across = repeats_across([placed.value for placed in train], [placed.value for placed in evaluation])
    return faults + [_same(evaluation[late], train[early], "leakage: ") for late, early in across.items()]


def _same(later: LocatedRecord[Row], earlier: LocatedRecord[Row], kind: str) -> ValidationIssue:
    exactly = words(later.value.in_context) == words(earlier.value.in_context)
    return later.fault(f"{kind}{'' if exactly else 'nearly '}the same question as {_place(earlier)}")


def check_documents(
    train: Sequence[LocatedRecord[Row]], evaluation: Sequence[LocatedRecord[Row]]
) -> list[ValidationIssue]:
    """No document serves both train and evaluation. One fault a document, at its first evaluation row."""
    used: dict[str, LocatedRecord[Row]] = {}
    for placed in train:
        for doc_id in placed.value.doc_ids:
            used.setdefault(doc_id, placed)
    faults = []
    for placed in evaluation:
        for doc_id in placed.value.doc_ids:
            if earlier := used.pop(doc_id, None):
                what = f"leakage: document {doc_id!r} also serves the training row at {_place(earlier)}"
                faults.append(placed.fault(what))
    return faults


def _place(placed: LocatedRecord[T]) -> str:
    return f"{placed.path.name}:{placed.line}"
