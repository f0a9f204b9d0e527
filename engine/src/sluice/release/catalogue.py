"""The catalogue of a shared artifact store: all releases in it, so that any machine can fetch one by its id.

An entry names release.json by its sha256, and with it all files for serving; and the evaluation record, which is not
served but is the reference for the next release.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import field_validator

from sluice.core.digests import digest_of_file
from sluice.core.errors import SluiceError
from sluice.core.settings import Settings
from sluice.core.workspace import Workspace
from sluice.release.append_log import AppendLog
from sluice.release.artifact_store import ArtifactStore, fetch_artifact
from sluice.release.manifest import FILE, Manifest, ReleaseId, Sha256, load, plain_paths, verify
from sluice.release.transfer import TransferResult, fetch, push

FOLDER = "record/releases"


class CatalogueEntry(Settings):
    """One release. `digest`: sha256 of release.json; `making`: {path in the folder: sha256}; `baseline`: the untouched
    model, which the first release is compared with; `removed`: from here on it is no longer in the store."""

    id: ReleaseId
    digest: Sha256
    commit: str
    time: str
    making: dict[str, Sha256]
    baseline: bool = False
    removed: bool = False

    @field_validator("making")
    @classmethod
    def _inside(cls, files: dict[str, str]) -> dict[str, str]:
        return plain_paths(files)


def add(
    store: ArtifactStore, workspace: Workspace, folder: Path, commit: str = "", *, baseline: bool = False
) -> TransferResult:
    """Puts a release with its evaluation record into the artifact store; its entry last, so that it is complete."""
    moved = push(folder, workspace, store)
    there = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    papers = {name: path for name, path in there.items() if name not in (FILE, *moved.manifest.files)}
    making = {name: digest_of_file(path) for name, path in papers.items()}
    for name, digest in making.items():
        if not store.has(digest):
            store.put(digest, papers[name])
    store.keep(moved.manifest.id, folder, {**moved.blobs, **{digest: papers[name] for name, digest in making.items()}})
    fields: dict[str, Any] = {"id": moved.manifest.id, "digest": moved.digest, "commit": commit, "making": making}
    entry = CatalogueEntry(**fields, time=datetime.now(UTC).isoformat(timespec="seconds"), baseline=baseline)
    _log(store).append(entry)
    return moved


def newest(store: ArtifactStore) -> Iterator[CatalogueEntry]:
    """All that was put there and not removed, the newest first."""
    gone = set()
    for entry in _log(store).newest():
        if entry.removed:
            gone.add(entry.id)
        elif entry.id not in gone:
            yield entry


def find(store: ArtifactStore, release: str) -> CatalogueEntry:
    """The entry of a release."""
    for entry in newest(store):
        if entry.id == release:
            return entry
    raise SluiceError(f"{store}: no release {release}", remedy="`sluice release list --env …` names those that are")


def made_for(store: ArtifactStore, commit: str) -> CatalogueEntry | None:
    """What was made of a commit last; None when nothing was."""
    return next((entry for entry in newest(store) if entry.commit == commit and not entry.baseline), None)


def baseline(store: ArtifactStore) -> CatalogueEntry | None:
    """The untouched model that was evaluated last."""
    return next((entry for entry in newest(store) if entry.baseline), None)


def bring_release(store: ArtifactStore, workspace: Workspace, release: str) -> tuple[Manifest, Path]:
    """Makes `.sluice/releases/<id>` whole here, with the record of its making, without its models; returns its
    manifest and folder.

    Most of what asks for it serves nothing, and a machine that makes releases reaches the models' sources."""
    folder = workspace.releases / release
    if folder.is_dir():
        manifest = load(folder)
        verify(folder, manifest)
        return manifest, folder
    entry = find(store, release)
    draft = workspace.releases / f".bringing-{release}"
    moved = fetch(entry.digest, store, draft, workspace, models=False)
    if moved.manifest.id != release:
        raise SluiceError(f"{store}: {entry.digest} is release {moved.manifest.id}, not {release}")
    for name, digest in entry.making.items():
        fetch_artifact(store, digest, draft / name)
    draft.rename(folder)
    return moved.manifest, folder


def _log(store: ArtifactStore) -> AppendLog[CatalogueEntry]:
    return AppendLog(store, FOLDER, CatalogueEntry)
