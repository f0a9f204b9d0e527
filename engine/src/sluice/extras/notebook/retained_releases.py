"""Judgements of the releases on this machine and in the shared artifact store."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from sluice.core.workspace import Workspace
from sluice.release.artifact_store import fetch_artifact
from sluice.release.catalogue import newest
from sluice.release.environment_record import shared_address, shared_artifact_store
from sluice.release.manifest import FILE, load_judgement
from sluice.release.verdict import JUDGEMENT, Judgement


def kept_judgements(workspace: Workspace, variables: Mapping[str, str]) -> list[Judgement]:
    """Return the judgement of each release once, of this machine and of the shared artifact store, if there is one."""
    found = {path.parent.name: load_judgement(path.parent) for path in sorted(workspace.releases.glob(f"r-*/{FILE}"))}
    if shared_address(variables):
        store = shared_artifact_store(variables)
        with tempfile.TemporaryDirectory(prefix="sluice-manifests-") as made:
            for entry in newest(store):
                if entry.id not in found:
                    folder = Path(made) / entry.id
                    fetch_artifact(store, entry.digest, folder / FILE)
                    if digest := entry.making.get(JUDGEMENT):
                        fetch_artifact(store, digest, folder / JUDGEMENT)
                    found[entry.id] = load_judgement(folder)
    return list(found.values())
