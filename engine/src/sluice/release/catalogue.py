"""The catalogue of a shared place: every release that was put there, so that any machine can bring it by its id.

An entry names release.json by its sha256, and with it all that is served; and the record of its making, which is
not served but is what the next release is judged against.
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
from sluice.release.blobs import Place, bring
from sluice.release.log import Log
from sluice.release.manifest import Manifest, ReleaseId, Sha256, load, plain_paths, verify
from sluice.release.transfer import fetch, push

FOLDER = "record/releases"
# Written before a release is put into the place; what is written later belongs to one run.
_MAKING = ("evaluation/*.json*", "training.json", "report.html")


class Made(Settings):
    """One release. `digest`: sha256 of release.json; `making`: {path in the folder: sha256}; `baseline`: the untouched
    model, which the first release is compared with."""

    id: ReleaseId
    digest: Sha256
    commit: str
    time: str
    making: dict[str, Sha256]
    baseline: bool = False

    @field_validator("making")
    @classmethod
    def _inside(cls, files: dict[str, str]) -> dict[str, str]:
        return plain_paths(files)


def add(place: Place, workspace: Workspace, folder: Path, commit: str, *, baseline: bool = False) -> Made:
    """Puts a release with the record of its making into the place, and enters it last: who finds it finds all."""
    moved = push(folder, workspace, place)
    papers = {path.relative_to(folder).as_posix(): path for name in _MAKING for path in sorted(folder.glob(name))}
    making = {name: digest_of_file(path) for name, path in papers.items()}
    for name, digest in making.items():
        if not place.has(digest):
            place.put(digest, papers[name])
    fields: dict[str, Any] = {"id": moved.manifest.id, "digest": moved.digest, "commit": commit, "making": making}
    entry = Made(**fields, time=datetime.now(UTC).isoformat(timespec="seconds"), baseline=baseline)
    _log(place).append(entry)
    return entry


def newest(place: Place) -> Iterator[Made]:
    """All that was put there, the newest first."""
    return _log(place).newest()


def find(place: Place, release: str) -> Made:
    """The entry of a release. SluiceError when there is none."""
    for entry in newest(place):
        if entry.id == release:
            return entry
    raise SluiceError(f"{place}: no release {release}", remedy="`sluice release list --env …` names those that are")


def made_for(place: Place, commit: str) -> Made | None:
    """What was made of a commit last."""
    return next((entry for entry in newest(place) if entry.commit == commit and not entry.baseline), None)


def baseline(place: Place) -> Made | None:
    """The untouched model that was evaluated last."""
    return next((entry for entry in newest(place) if entry.baseline), None)


def bring_release(place: Place, workspace: Workspace, release: str) -> tuple[Manifest, Path]:
    """Makes `.sluice/releases/<id>` whole here, with the record of its making; verified as it comes. Most of what asks
    for it serves nothing, so its models are not brought: on a machine that makes releases their sources are reached."""
    folder = workspace.releases / release
    if folder.is_dir():
        manifest = load(folder)
        verify(folder, manifest)
        return manifest, folder
    entry = find(place, release)
    draft = workspace.releases / f".bringing-{release}"
    moved = fetch(entry.digest, place, draft, workspace, models=False)
    if moved.manifest.id != release:
        raise SluiceError(f"{place}: {entry.digest} is release {moved.manifest.id}, not {release}")
    for name, digest in entry.making.items():
        bring(place, digest, draft / name)
    draft.rename(folder)
    return moved.manifest, folder


def _log(place: Place) -> Log[Made]:
    return Log(place, FOLDER, Made)
