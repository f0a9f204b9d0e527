"""The releases that may be served again: those of this machine, and all in the place that machines share."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from sluice.core.workspace import Workspace
from sluice.release.blobs import bring
from sluice.release.catalogue import newest
from sluice.release.manifest import FILE, Manifest, load
from sluice.release.record import PLACE, shared_place


def kept_manifests(workspace: Workspace, variables: Mapping[str, str]) -> list[Manifest]:
    """Their manifests, each release once. SluiceError when one of them cannot be read: nobody could say what it needs.

    Without SLUICE_ARTEFACTS only those of this machine are known."""
    found = {path.parent.name: load(path.parent) for path in sorted(workspace.releases.glob(f"r-*/{FILE}"))}
    if variables.get(PLACE):
        place = shared_place(variables)
        with tempfile.TemporaryDirectory(prefix="sluice-manifests-") as made:
            for entry in newest(place):
                if entry.id not in found:
                    bring(place, entry.digest, Path(made) / entry.id / FILE)
                    found[entry.id] = load(Path(made) / entry.id)
    return list(found.values())
