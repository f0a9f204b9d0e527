"""Writes the bill of materials, the statements and SHA256SUMS of a release, whenever its report is written."""

from __future__ import annotations

import shutil
from pathlib import Path

from sluice.core.atomic_files import write_json
from sluice.extras.provenance.bill_of_materials import FILE, bill_of_materials
from sluice.extras.provenance.checksums import write_checksums
from sluice.extras.provenance.statements import FOLDER, statements_of
from sluice.release.manifest import load


def write_provenance(folder: Path) -> None:
    """Writes them into the folder of a release; SHA256SUMS last, for it has the digests of all others.

    Args:
        folder: Of the release.

    Raises:
        SluiceError: release.json or config/models.yaml cannot be read.
    """
    manifest = load(folder)
    write_json(folder / FILE, bill_of_materials(folder, manifest))
    shutil.rmtree(folder / FOLDER, ignore_errors=True)
    for name, statement in statements_of(folder, manifest).items():
        write_json(folder / FOLDER / name, statement)
    write_checksums(folder)
