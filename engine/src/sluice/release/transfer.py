"""Copies a release between machines: `push` after it was made, `fetch` before it is served.

A release is fetched by the sha256 of release.json, and release.json names all other files by sha256: those for serving,
those for the analyses of a canary, and the models. So one digest decides what a pod serves, wherever the bytes came
from.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sluice.core.digests import digest_of_file
from sluice.core.errors import SluiceError
from sluice.core.workspace import Workspace
from sluice.llm.model_files import Models, ensure, ensure_source, load_models
from sluice.release.artifact_store import ArtifactStore, fetch_artifact
from sluice.release.manifest import FILE, Manifest, load, pinned_files, verify

_MODELS = "config/models.yaml"


@dataclass(frozen=True)
class TransferResult:
    """`digest`: sha256 of release.json; `files`: how many the release needs with its models; `moved`: how many of
    them were not there yet; `blobs`: those that were pushed or there, by digest."""

    manifest: Manifest
    digest: str
    files: int
    moved: int
    blobs: Mapping[str, Path] = field(default_factory=dict, compare=False)


def push(folder: Path, workspace: Workspace, store: ArtifactStore) -> TransferResult:
    """Puts a release and its models' sources into an artifact store; its manifest last, so that it is complete."""
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
    """Makes a folder the release that is wanted, and fills the cache with its models, converted for serving.

    Every file is checked as it arrives, the whole folder at the end. What is there already and right is kept, so a run
    that was cut off goes on; what another release left in the folder goes away."""
    digest, manifest, moved = _fetch_manifest(wanted, store, folder)
    moved += [fetch_artifact(store, sha256, folder / name) for name, sha256 in sorted(manifest.files.items())]
    verify(folder, manifest)
    named = load_models(folder / _MODELS)
    _require_pinned(manifest, named)
    if models:
        moved += [fetch_artifact(store, sha256, path) for sha256, path in _sources(named, workspace.cache).items()]
        for _, spec in named:
            ensure(spec, workspace.cache)
    return TransferResult(manifest, digest, len(moved), sum(moved))


def fetch_folders(wanted: str, store: ArtifactStore, folder: Path, names: Collection[str]) -> TransferResult:
    """As `fetch`, but no model and only some folders: for who judges and does not serve."""
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
    """Its digest, what it says, and whether it was fetched; what it does not name leaves the folder."""
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
    """sha256 of everything that `fetch` brings for a release, but release.json itself."""
    return {*load(folder).files.values(), *_sources(load_models(folder / _MODELS), workspace.cache)}


def _sources(models: Models, cache: Path) -> dict[str, Path]:
    """sha256 -> path in the cache, of every source file of the models."""
    return {sha256: path for _, spec in models for path, sha256 in spec.cached(cache).items()}


def _require_pinned(manifest: Manifest, models: Models) -> None:
    """models.yaml is verified by its digest; a manifest that says otherwise than it was not made by `make release`."""
    for role, spec in models:
        pin = manifest.models.get(role)
        if pin is None or pin.sha256 != spec.sha256:
            raise SluiceError(
                f"{FILE} and {_MODELS} disagree about the model {role!r}", remedy="make the release again"
            )
