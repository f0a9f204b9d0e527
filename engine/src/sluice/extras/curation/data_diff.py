"""Differences between two versions of the dataset: rows and documents by id.

Runs as `sluice data diff`. It informs and never fails: the contract holds the rules.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from sluice.data.rows import Document, Row, scan_corpus, scan_rows

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
    """`moved`: row id -> the file it is in now, for rows that changed sides."""

    documents: RowChanges
    rows: Mapping[str, RowChanges]
    moved: Mapping[str, str]

    def as_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "documents": self.documents.as_dict(),
            **{file: changes.as_dict() for file, changes in self.rows.items()},
            "moved": dict(self.moved),
        }


def read_version(folder: Path) -> DatasetVersion:
    """What can be read of a data folder; faults are what `sluice data check` is for."""
    rows = {file: {one.value.id: one.value for one in scan_rows(folder / file)[0]} for file in _FILES}
    return DatasetVersion(rows, {one.value.id: one.value for one in scan_corpus(folder / "corpus")[0]})


def compare(base: DatasetVersion, head: DatasetVersion) -> DataDiff:
    """From `base` to `head`."""
    before = {name: file for file in _FILES for name in base.rows[file]}
    after = {name: file for file in _FILES for name in head.rows[file]}
    return DataDiff(
        _changes(base.documents, head.documents, lambda one: one.model_dump()),
        {file: _changes(base.rows[file], head.rows[file], Row.as_dict) for file in _FILES},
        {name: file for name, file in sorted(after.items()) if before.get(name, file) != file},
    )


def _changes(base: Mapping[str, T], head: Mapping[str, T], fields: Callable[[T], dict[str, Any]]) -> RowChanges:
    changed = {}
    for name in sorted(base.keys() & head.keys()):
        old, new = fields(base[name]), fields(head[name])
        if keys := tuple(key for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)):
            changed[name] = keys
    return RowChanges(tuple(sorted(head.keys() - base.keys())), tuple(sorted(base.keys() - head.keys())), changed)
