"""Whether a release still is what it was made as: in its folder, in the place, and by the note that GitHub signed; and
whether it was judged against what is live.

Each check has one of three results, and what could not be looked at is never called good.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sluice.core.errors import Faults, SluiceError
from sluice.core.workspace import Workspace
from sluice.release.blobs import Place, bring
from sluice.release.catalogue import find
from sluice.release.manifest import FILE, Manifest, load, verify
from sluice.release.record import Record
from sluice.release.transfer import artefacts

WORKFLOW = ".github/workflows/release.yml"
_NOT_SIGNED_IN = 4  # exit code of gh
_SECONDS = 120


@dataclass(frozen=True)
class Check:
    """`reason` says how much was looked at, what is wrong, or why nothing could be looked at."""

    what: str
    result: Literal["verified", "failed", "not verified"]
    reason: str

    def __str__(self) -> str:
        return f"{self.what}: {self.result}: {self.reason}"


def check_folder(folder: Path) -> Check:
    """Every file that serving reads, against release.json, and release.json against its id."""
    try:
        manifest = load(folder)
        verify(folder, manifest)
        if manifest.id != folder.name:
            raise SluiceError(f"{folder}: holds release {manifest.id}")
    except SluiceError as error:
        return Check("folder", "failed", _line(error))
    return Check("folder", "verified", f"{len(manifest.files)} files")


def check_place(place: Place | None, workspace: Workspace, folder: Path) -> Check:
    """Every artefact of the release, its models and the record of its making among them, read out of the place."""
    if place is None:
        return Check("place", "not verified", "SLUICE_ARTEFACTS is not set")
    faults = []
    try:
        entry = find(place, folder.name)
        wanted = {entry.digest, *entry.making.values(), *artefacts(folder, workspace)}
    except SluiceError as error:
        return Check("place", "failed", _line(error))
    with tempfile.TemporaryDirectory() as scratch:
        for digest in sorted(wanted):
            try:
                bring(place, digest, Path(scratch) / "artefact")
            except SluiceError as error:
                faults.append(_line(error))
    if faults:
        return Check("place", "failed", "; ".join(faults))
    return Check("place", "verified", f"{len(wanted)} artefacts of {place}")


def check_champion(manifest: Manifest, record: Record) -> Check:
    """Whether the release was judged against what is live in an environment now, or is that itself. A run that is
    repeated after others have passed it must not bring its release over theirs."""
    live = record.champion()
    where = record.environment
    if live is None:
        return Check("judged", "verified", f"nothing is live in {where}")
    if live.id in (manifest.id, manifest.parent):
        return Check("judged", "verified", f"against {manifest.parent}; {live.id} is live in {where}")
    return Check("judged", "failed", f"against {manifest.parent}, but {live.id} is live in {where}: stage it again")


def check_attestation(folder: Path, variables: Mapping[str, str], *, gh: str = "gh") -> Check:
    """Asks GitHub whether release.yml of this repository made release.json, by `gh attestation verify`."""
    repository = variables.get("GITHUB_REPOSITORY")
    if not repository:
        return Check("attestation", "not verified", "GITHUB_REPOSITORY is not set")
    words = [gh, "attestation", "verify", str(folder / FILE), "--repo", repository]
    words += ["--signer-workflow", f"{repository}/{WORKFLOW}"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=_SECONDS)
    except FileNotFoundError:
        return Check("attestation", "not verified", f"{gh} is not installed")
    except subprocess.TimeoutExpired:
        return Check("attestation", "not verified", f"{gh} gave no answer in {_SECONDS} s")
    said = next(iter(done.stderr.strip().splitlines()[-1:]), f"{gh} ended with {done.returncode}")
    if done.returncode == _NOT_SIGNED_IN:
        return Check("attestation", "not verified", said)
    if done.returncode:
        return Check("attestation", "failed", said)
    return Check("attestation", "verified", f"made by {WORKFLOW} of {repository}")


def _line(error: SluiceError) -> str:
    return "; ".join(error.faults) if isinstance(error, Faults) else error.message.replace("\n", " ")
