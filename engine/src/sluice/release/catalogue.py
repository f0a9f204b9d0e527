"""The catalogue of a shared artifact store: all releases in it, so that any machine can fetch one by its id.

An entry names release.json by its sha256, and the judgement with its evaluation, the reference for the next release."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sluice.core.digests import digest_of_file
from sluice.core.errors import SluiceError
from sluice.core.settings import Settings
from sluice.core.workspace import Workspace
from sluice.llm.model_files import Models, ensure, ensure_source, load_models
from sluice.release.artifact_store import ArtifactStore, fetch_artifact
from sluice.release.environment_record import AppendLog, EnvironmentRecord, shared_address, shared_artifact_store
from sluice.release.manifest import FILE, Files, Manifest, files_in, load, pinned_files, replace_record, verify
from sluice.release.verdict import JUDGEMENT, ReleaseId, Sha256

_MODELS = "config/models.yaml"


@dataclass(frozen=True)
class TransferResult:
    """`moved` of the `files` weren't there yet. `blobs`: those pushed or there, by digest."""

    manifest: Manifest
    digest: str
    files: int
    moved: int
    blobs: Mapping[str, Path] = field(default_factory=dict, compare=False)


def push(folder: Path, workspace: Workspace, store: ArtifactStore) -> TransferResult:
    """Put a release and its models' sources into an artifact store; its manifest last, so that it is complete."""
    manifest = load(folder)
    verify(folder, manifest)
    models = load_models(folder / _MODELS)
    for _, spec in models:
        ensure_source(spec, workspace.cache)
    digest = digest_of_file(folder / FILE)
    blobs = {sha256: folder / name for name, sha256 in manifest.files.items()} | _sources(models, workspace.cache)
    absent = [sha256 for sha256 in blobs if not store.has(sha256)]
    for sha256 in absent:
        store.put(sha256, blobs[sha256])
    if moved := not store.has(digest):
        store.put(digest, folder / FILE)
    return TransferResult(manifest, digest, len(blobs) + 1, len(absent) + moved, {**blobs, digest: folder / FILE})


def fetch(
    wanted: str, store: ArtifactStore, folder: Path, workspace: Workspace, *, models: bool = True
) -> TransferResult:
    """Make a folder the release that is wanted, and fill the cache with its models, converted for serving.

    Files that are there and right are kept, so an interrupted run continues; files of other releases are removed."""
    digest, manifest, moved = _fetch_manifest(wanted, store, folder)
    moved += [fetch_artifact(store, sha256, folder / name) for name, sha256 in sorted(manifest.files.items())]
    verify(folder, manifest)
    named = load_models(folder / _MODELS)
    for role, spec in named:  # models.yaml is verified by its digest
        if role not in manifest.models or manifest.models[role].sha256 != spec.sha256:
            remedy = "make the release again"
            raise SluiceError(f"{FILE} and {_MODELS} disagree about the model {role!r}", remedy=remedy)
    if models:
        moved += [fetch_artifact(store, sha256, path) for sha256, path in _sources(named, workspace.cache).items()]
        for _, spec in named:
            ensure(spec, workspace.cache)
    return TransferResult(manifest, digest, len(moved), sum(moved))


def fetch_folders(wanted: str, store: ArtifactStore, folder: Path, names: Collection[str]) -> TransferResult:
    """Fetch only some folders and no model, for those who judge and don't serve."""
    digest, manifest, moved = _fetch_manifest(wanted, store, folder)
    files = {name: sha256 for name, sha256 in sorted(manifest.files.items()) if name.partition("/")[0] in names}
    if absent := set(names) - {name.partition("/")[0] for name in files}:
        raise SluiceError(
            f"{manifest.id}: has no files in {', '.join(sorted(absent))}",
            remedy=f"it has {', '.join(sorted({name.partition('/')[0] for name in manifest.files}))}; make it again",
        )
    moved += [fetch_artifact(store, sha256, folder / name) for name, sha256 in files.items()]
    return TransferResult(manifest, digest, len(moved), sum(moved))


def _fetch_manifest(wanted: str, store: ArtifactStore, folder: Path) -> tuple[str, Manifest, list[bool]]:
    """Return the digest, the manifest, and if it was fetched; remove files that it doesn't name."""
    target, given = folder / FILE, Path(wanted)
    if not given.is_file():
        digest = wanted.removeprefix("sha256:")
        if not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise SluiceError(
                f"{wanted}: neither a release.json nor the sha256 of one",
                remedy="`sluice release push` prints the digest; an id is too short to be one",
            )
        moved = fetch_artifact(store, digest, target)
    else:
        digest = digest_of_file(given)
        if moved := not target.is_file() or digest_of_file(target) != digest:
            folder.mkdir(parents=True, exist_ok=True)
            target.write_bytes(given.read_bytes())
    manifest = load(folder)
    for name in sorted(pinned_files(folder) - manifest.files.keys()):
        (folder / name).unlink()
    return digest, manifest, [moved]


def artefacts(folder: Path, workspace: Workspace) -> set[str]:
    """Return the sha256 of everything that `fetch` brings for a release, except release.json."""
    return {*load(folder).files.values(), *_sources(load_models(folder / _MODELS), workspace.cache)}


def _sources(models: Models, cache: Path) -> dict[str, Path]:
    """Return the cached path of every source file of the models, by sha256."""
    return {sha256: path for _, spec in models for path, sha256 in spec.cached(cache).items()}


FOLDER = "record/releases"


class CatalogueEntry(Settings):
    """One release. `making`: sha256 by path; `baseline`: the untouched model; `removed`: no longer in the store."""

    id: ReleaseId
    digest: Sha256
    commit: str
    time: str
    making: Files
    baseline: bool = False
    removed: bool = False


def add(
    store: ArtifactStore, workspace: Workspace, folder: Path, commit: str = "", *, baseline: bool = False
) -> TransferResult:
    """Put a release with its evaluation record into the artifact store; its entry last, so that it is complete."""
    moved = push(folder, workspace, store)
    papers = sorted(files_in(folder) - {FILE, *moved.manifest.files})
    making = {name: digest_of_file(folder / name) for name in papers}
    blobs = {digest: folder / name for name, digest in making.items()}
    for digest, path in blobs.items():
        if not store.has(digest):
            store.put(digest, path)
    store.keep(moved.manifest.id, folder, {**moved.blobs, **blobs})
    fields: dict[str, Any] = {"id": moved.manifest.id, "digest": moved.digest, "commit": commit, "making": making}
    entry = CatalogueEntry(**fields, time=datetime.now(UTC).isoformat(timespec="seconds"), baseline=baseline)
    _log(store).append(entry)
    return moved


def newest(store: ArtifactStore) -> Iterator[CatalogueEntry]:
    """Iterate over what was added and not removed, newest first."""
    gone = set()
    for entry in _log(store).newest():
        if entry.removed:
            gone.add(entry.id)
        elif entry.id not in gone:
            yield entry


def find(store: ArtifactStore, release: str) -> CatalogueEntry:
    if entry := next((entry for entry in newest(store) if entry.id == release), None):
        return entry
    raise SluiceError(f"{store}: no release {release}", remedy="`sluice release list --env …` names those that are")


def made_for(store: ArtifactStore, commit: str) -> CatalogueEntry | None:
    """Return the last release made of a commit."""
    return next((entry for entry in newest(store) if entry.commit == commit and not entry.baseline), None)


def baseline(store: ArtifactStore) -> CatalogueEntry | None:
    return next((entry for entry in newest(store) if entry.baseline), None)


def find_release(workspace: Workspace, record: EnvironmentRecord, release: str) -> tuple[Manifest, Path]:
    """Return the manifest and the folder of a release, fetching it, or its newer judgement, from the shared store."""
    folder = workspace.releases / release
    if folder.is_dir():
        return (bring_judgement(record.store, folder) if record.shared else load(folder)), folder
    if record.shared:
        return bring_release(record.store, workspace, release)
    if shared_address(os.environ):
        return bring_release(shared_artifact_store(os.environ), workspace, release)
    raise SluiceError(f"{folder}: no such release", remedy="`sluice release list` lists those on this machine")


def bring_release(store: ArtifactStore, workspace: Workspace, release: str) -> tuple[Manifest, Path]:
    """Make `.sluice/releases/<id>` whole here, with the record of its making, without its models."""
    folder = workspace.releases / release
    if folder.is_dir():
        manifest = bring_judgement(store, folder)
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


def bring_judgement(store: ArtifactStore, folder: Path) -> Manifest:
    """Load a release that is here, with the latest judgement that the store has of it."""
    manifest = load(folder)
    entry = next((entry for entry in newest(store) if entry.id == folder.name), None)
    if entry is None or is_judgement_of(entry, folder):
        return manifest
    draft = folder.with_name(f".judgement-{folder.name}")
    shutil.rmtree(draft, ignore_errors=True)
    for name, sha256 in entry.making.items():
        fetch_artifact(store, sha256, draft / name)
    replace_record(folder, draft, manifest)
    shutil.rmtree(draft)
    return manifest


def is_judgement_of(entry: CatalogueEntry, folder: Path) -> bool:
    digest, path = entry.making.get(JUDGEMENT), folder / JUDGEMENT
    return digest is None or (path.is_file() and digest_of_file(path) == digest)


def _log(store: ArtifactStore) -> AppendLog[CatalogueEntry]:
    return AppendLog(store, FOLDER, CatalogueEntry)
