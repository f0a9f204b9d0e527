"""A whole small release, with its report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from sluice.core.atomic_files import write_json
from sluice.core.workspace import Workspace
from sluice.release.manifest import Manifest
from sluice.release.release_report import write_report
from unit.release.conftest import miniature, release_of


@dataclass(frozen=True)
class MadeRelease:
    workspace: Workspace
    manifest: Manifest
    folder: Path


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeRelease:
    workspace = miniature(tmp_path_factory.mktemp("provenance") / "checkout")
    parent, _ = release_of(workspace, adapter=None, verdicts=[])
    manifest, folder = release_of(workspace, parent=parent.id, commit="c" * 40)
    write_json(folder / "stages.json", [{"stage": "train", "seconds": 171.0, "cached": False}])
    write_report(folder, live=True)
    return MadeRelease(workspace, manifest, folder)
