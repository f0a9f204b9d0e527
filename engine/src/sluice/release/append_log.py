"""An append-only log in an artifact store: numbered notes from `<folder>/000001.json`, each written once and never
changed.

Two machines that append concurrently try the same number; one of them finds it taken, and takes the next. So no entry
is overwritten or lost, and readers always see a prefix of the log.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import ValidationError

from sluice.core.digests import canonical_json
from sluice.core.errors import SluiceError
from sluice.core.settings import Settings
from sluice.release.artifact_store import ArtifactStore

E = TypeVar("E", bound=Settings)

_ATTEMPTS = 50


@dataclass(frozen=True)
class AppendLog(Generic[E]):
    """Entries of the type `model` in the folder `folder` of `store`."""

    store: ArtifactStore
    folder: str
    model: type[E]

    def newest(self) -> Iterator[E]:
        """Entries, the newest first; each is read when it is asked for. SluiceError for one that is damaged."""
        return (self._read(name) for name in reversed(self.store.notes(self.folder)))

    def append(self, entry: E) -> None:
        """Adds an entry. SluiceError when others are quicker again and again."""
        content = canonical_json(entry.model_dump(mode="json"))
        for _ in range(_ATTEMPTS):
            there = self.store.notes(self.folder)
            number = _number(there[-1]) + 1 if there else 1
            if self.store.make(f"{self.folder}/{number:06}.json", content):
                return
        raise SluiceError(
            f"{self.store}/{self.folder}: {_ATTEMPTS} concurrent appends came first", remedy="run it again"
        )

    def _read(self, name: str) -> E:
        try:
            return self.model.model_validate_json(self.store.read(name))
        except ValidationError as error:
            raise SluiceError(
                f"{self.store}/{name}: not an entry of the record: {error.errors()[0]['msg']}",
                remedy="entries never change: restore the original file, or delete it if it is empty",
            ) from None


def _number(name: str) -> int:
    stem = name.rpartition("/")[2].removesuffix(".json")
    if not stem.isdigit():
        raise SluiceError(f"{name}: does not belong in the record", remedy="remove the file")
    return int(stem)
