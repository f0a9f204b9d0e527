"""Differences between two versions of the dataset: rows and documents by id, and distribution shifts.

Runs as `sluice data diff`. It informs and never fails: the contract holds the rules.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from sluice.data.rows import Document, Row, scan_corpus, scan_rows
from sluice.extras.curation.distribution_shift import DistributionShift, ShiftPolicy, of_categories, of_numbers

T = TypeVar("T")
_FILES = ("train.jsonl", "eval.jsonl")


@dataclass(frozen=True)
class DatasetVersion:
    """The readable part of a data folder: rows by file and id, documents by id."""

    rows: Mapping[str, Mapping[str, Row]]
    documents: Mapping[str, Document]


@dataclass(frozen=True)
class RowChanges:
    """Ids. `changed`: id -> the keys that differ."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: Mapping[str, tuple[str, ...]]

    def as_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "added": list(self.added),
            "removed": list(self.removed),
            "changed": {name: list(keys) for name, keys in self.changed.items()},
        }


@dataclass(frozen=True)
class DataDiff:
    """`moved`: row id -> the file it is in now, for rows that changed sides. `shifts`: of every distribution that both
    versions have."""

    documents: RowChanges
    rows: Mapping[str, RowChanges]
    moved: Mapping[str, str]
    shifts: tuple[DistributionShift, ...]

    def as_dict(self, policy: ShiftPolicy) -> dict[str, Any]:
        """JSON-able."""
        return {
            "documents": self.documents.as_dict(),
            **{file: changes.as_dict() for file, changes in self.rows.items()},
            "moved": dict(self.moved),
            "shifts": [shift.as_dict(policy) for shift in self.shifts],
        }


def read_version(folder: Path) -> DatasetVersion:
    """What can be read of a data folder; faults are what `sluice data check` is for."""
    rows = {file: {one.value.id: one.value for one in scan_rows(folder / file)[0]} for file in _FILES}
    return DatasetVersion(rows, {one.value.id: one.value for one in scan_corpus(folder / "corpus")[0]})


def compare(base: DatasetVersion, head: DatasetVersion) -> DataDiff:
    """From `base` to `head`."""
    before = {name: file for file in _FILES for name in base.rows[file]}
    after = {name: file for file in _FILES for name in head.rows[file]}
    shifts = [shift for file in _FILES for shift in _row_shifts(file, base.rows[file], head.rows[file])]
    lengths = [[len(one.text.split()) for one in side.documents.values()] for side in (base, head)]
    return DataDiff(
        _changes(base.documents, head.documents, lambda one: one.model_dump()),
        {file: _changes(base.rows[file], head.rows[file], Row.as_dict) for file in _FILES},
        {name: file for name, file in sorted(after.items()) if before.get(name, file) != file},
        tuple(filter(None, [*shifts, of_numbers("words of a document", *lengths)])),
    )


def _changes(base: Mapping[str, T], head: Mapping[str, T], fields: Callable[[T], dict[str, Any]]) -> RowChanges:
    changed = {}
    for name in sorted(base.keys() & head.keys()):
        old, new = fields(base[name]), fields(head[name])
        if keys := tuple(key for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)):
            changed[name] = keys
    return RowChanges(tuple(sorted(head.keys() - base.keys())), tuple(sorted(base.keys() - head.keys())), changed)


def _row_shifts(file: str, base: Mapping[str, Row], head: Mapping[str, Row]) -> Iterable[DistributionShift | None]:
    sides = [*base.values()], [*head.values()]
    side = file.removesuffix(".jsonl")
    yield of_numbers(f"{side}: words of a question", *([len(row.question.split()) for row in rows] for rows in sides))
    yield of_numbers(f"{side}: words of an answer", *(_answer_words(rows) for rows in sides))
    yield of_categories(f"{side}: tags", *(Counter(tag for row in rows for tag in row.tags) for rows in sides))
    yield of_categories(f"{side}: to decline", *(Counter(_kind(row) for row in rows) for rows in sides))


def _answer_words(rows: Sequence[Row]) -> list[int]:
    return [len(row.answers[0].split()) for row in rows if row.answers]


def _kind(row: Row) -> str:
    return "answered" if row.answerable else "declined"
