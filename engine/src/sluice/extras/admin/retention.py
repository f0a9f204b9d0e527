"""Removes releases from the shared artifact store that none may go back to, and what no other release needs.

A release that is put there meanwhile is safe: what is younger than a day stays, and the catalogue is read again before
each removal. What a run that was cut off has left is removed by the next.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sluice.core.workspace import Workspace
from sluice.release.artifact_store import ArtifactStore
from sluice.release.catalogue import FOLDER, CatalogueEntry, artefacts, fetch_folders, newest
from sluice.release.environment_record import CLOSED_BY, AppendLog, EnvironmentRecord

_GRACE = timedelta(days=1)
_RECORDS, _CATALOGUE = FOLDER.split("/")


@dataclass(frozen=True)
class PrunedReleases:
    """`kept` and `releases`: ids of those that stay and that go; `names`: what went with them, or was left behind."""

    kept: frozenset[str]
    releases: tuple[str, ...]
    names: tuple[str, ...]


def prune(store: ArtifactStore, workspace: Workspace, keep: int, *, dry_run: bool = False) -> PrunedReleases:
    """Removes what none of the kept releases needs."""
    if not store.notes(FOLDER):  # before the first release GitHub's registry knows no such place, and refuses
        return PrunedReleases(frozenset(), (), ())
    before = datetime.now(UTC) - _GRACE
    kept = _kept(store, keep, before)
    gone = {entry.id: entry for entry in newest(store) if entry.id not in kept}
    names = store.unneeded(_needed(store, workspace, kept.values()), before)
    if not dry_run:
        for entry in gone.values():
            _note_removed(store, entry)
        there, held = store.notes(FOLDER), set[str]()
        for name in names:
            if (now := store.notes(FOLDER)) != there:
                there, held = now, _needed(store, workspace, newest(store))
            if name not in held:
                store.remove(name)
    return PrunedReleases(frozenset(kept), tuple(gone), tuple(names))


def _note_removed(store: ArtifactStore, entry: CatalogueEntry) -> None:
    """Takes a release out of the catalogue; to put it there again is a new entry."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    AppendLog(store, FOLDER, CatalogueEntry).append(entry.model_copy(update={"removed": True, "time": now}))


def _kept(store: ArtifactStore, keep: int, before: datetime) -> dict[str, CatalogueEntry]:
    there: dict[str, CatalogueEntry] = {}
    for entry in newest(store):
        there.setdefault(entry.id, entry)
    chosen = {entry.id for entry in there.values() if datetime.fromisoformat(entry.time) >= before}
    for baseline in (False, True):
        found = (entry.id for entry in there.values() if entry.baseline == baseline)
        chosen |= {*itertools.islice(found, 1 if baseline else keep)}
    for environment in store.folders(_RECORDS):
        if environment != _CATALOGUE:
            record = EnvironmentRecord(store, environment)
            live = dict.fromkeys(event.id for event in record.newest() if event.event in CLOSED_BY.values())
            pending = record.pending()
            chosen |= {*itertools.islice(live, keep), *([pending.id] if pending else [])}
    return {name: entry for name, entry in there.items() if name in chosen}


def _needed(store: ArtifactStore, workspace: Workspace, entries: Iterable[CatalogueEntry]) -> set[str]:
    """Ids of these releases, and sha256 of everything that they need."""
    needed: set[str] = set()
    for entry in entries:
        with tempfile.TemporaryDirectory() as folder:
            fetch_folders(entry.digest, store, Path(folder), ["config"])
            needed |= {entry.id, entry.digest, *entry.making.values(), *artefacts(Path(folder), workspace)}
    return needed
