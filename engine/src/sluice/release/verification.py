"""Verifies a release. A part that can't be checked is `not verified` and never passes."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sluice.core.errors import SluiceError, ValidationErrors
from sluice.core.workspace import Workspace
from sluice.release.artifact_store import ArtifactStore, fetch_artifact
from sluice.release.catalogue import artefacts, find
from sluice.release.environment_record import EnvironmentRecord
from sluice.release.manifest import FILE, load, load_judgement, verify
from sluice.release.verdict import JUDGEMENT

WORKFLOW = ".github/workflows/release.yml"
_NOT_SIGNED_IN = 4  # exit code of gh
_SECONDS = 120
Result = Literal["verified", "failed", "not verified"]


@dataclass(frozen=True)
class VerificationResult:
    what: str
    result: Result
    reason: str

    def __str__(self) -> str:
        return f"{self.what}: {self.result}: {self.reason}"


def check_folder(folder: Path) -> VerificationResult:
    """Check every file that serving reads against release.json, and both JSON files against themselves."""
    try:
        manifest, judgement = load(folder), load_judgement(folder)
        verify(folder, manifest)
        written = {} if manifest.earlier else {FILE: manifest.to_bytes(), JUDGEMENT: judgement.to_bytes()}
        for name, content in written.items():
            if (folder / name).read_bytes() != content:
                raise SluiceError(f"{folder / name}: not as it was written")
        if manifest.id != folder.name:
            raise SluiceError(f"{folder}: holds release {manifest.id}")
    except SluiceError as error:
        return VerificationResult("folder", "failed", _line(error))
    return VerificationResult("folder", "verified", f"{len(manifest.files)} files")


def check_artifact_store(store: ArtifactStore | None, workspace: Workspace, folder: Path) -> VerificationResult:
    """Read every file of a release from the artifact store, with its models and its evaluation record."""
    if store is None:
        return VerificationResult("artifact store", "not verified", "SLUICE_ARTEFACTS is not set")
    faults = []
    try:
        entry = find(store, folder.name)
        wanted = {entry.digest, *entry.making.values(), *artefacts(folder, workspace)}
    except SluiceError as error:
        return VerificationResult("artifact store", "failed", _line(error))
    with tempfile.TemporaryDirectory() as scratch:
        for digest in sorted(wanted):
            try:
                fetch_artifact(store, digest, Path(scratch) / "artefact")
            except SluiceError as error:
                faults.append(_line(error))
    if faults:
        return VerificationResult("artifact store", "failed", "; ".join(faults))
    return VerificationResult("artifact store", "verified", f"{len(wanted)} artefacts of {store}")


def check_champion(folder: Path, record: EnvironmentRecord) -> VerificationResult:
    """Check that the release was judged against what is live now, or is live.

    A run that is repeated after others have passed it must not bring its release over theirs."""
    live = record.champion()
    where = record.environment
    try:
        judgement = load_judgement(folder)
        record.require_not_gone_back(judgement.release, find(record.store, judgement.release).time)
    except SluiceError as error:
        return VerificationResult("judged", "failed", _line(error))
    if live is None:
        return VerificationResult("judged", "verified", f"nothing is live in {where}")
    if live.id in (judgement.release, judgement.parent):
        return VerificationResult("judged", "verified", f"against {judgement.parent}; {live.id} is live in {where}")
    return VerificationResult(
        "judged", "failed", f"against {judgement.parent}, but {live.id} is live in {where}: stage it again"
    )


def check_attestation(
    folder: Path, variables: Mapping[str, str], *, gh: str = "gh", signed: bool = True
) -> VerificationResult:
    """Ask GitHub, by `gh attestation verify`, if release.yml of this repository made both files."""
    repository = variables.get("GITHUB_REPOSITORY")
    if not repository or not signed:
        why = "GITHUB_REPOSITORY is not set" if signed else "nothing is signed here"
        return VerificationResult("attestation", "not verified", why)
    for name in (FILE, JUDGEMENT):
        if name == JUDGEMENT and not (folder / name).is_file():  # an older release; check_folder misses it otherwise
            continue
        words = [gh, "attestation", "verify", str(folder / name), "--repo", repository]
        words += ["--signer-workflow", f"{repository}/{WORKFLOW}"]
        try:
            done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=_SECONDS)
        except FileNotFoundError:
            return VerificationResult("attestation", "not verified", f"{gh} is not installed")
        except subprocess.TimeoutExpired:
            return VerificationResult("attestation", "not verified", f"{gh} gave no answer in {_SECONDS} s")
        if done.returncode:
            said = next(iter(done.stderr.strip().splitlines()[-1:]), f"{gh} ended with {done.returncode}")
            result: Result = "not verified" if done.returncode == _NOT_SIGNED_IN else "failed"
            return VerificationResult("attestation", result, f"{name}: {said}")
    return VerificationResult("attestation", "verified", f"made by {WORKFLOW} of {repository}")


def _line(error: SluiceError) -> str:
    return "; ".join(error.faults) if isinstance(error, ValidationErrors) else error.message.replace("\n", " ")
