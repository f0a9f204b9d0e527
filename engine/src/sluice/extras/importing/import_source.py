"""Selects the importer for a source. Runs as `sluice data import`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from sluice.core.errors import SluiceError
from sluice.data.data_policy import DataPolicy
from sluice.extras.importing import extract, table_records
from sluice.extras.importing.import_folder import FolderImport, import_folder
from sluice.extras.importing.import_squad import squad
from sluice.extras.importing.import_table import TableImport, TableLayout, import_table

_MOST_BYTES = 512 << 20


def import_any(
    source: Path,
    out: Path,
    *,
    data: Path,
    layout: TableLayout,
    licence: str,
    origin: str,
    train_articles: int,
    policy: DataPolicy,
) -> dict[str, Any]:
    """What was imported, JSON-able. `licence` and `origin` may not be blank; `layout` is of tables, `train_articles` of
    SQuAD. SluiceError for a source of another kind."""
    for option, value in (("--licence", licence), ("--origin", origin)):
        if not value.strip():
            raise SluiceError(f"{option} is blank", remedy="texts without a licence and a source may not be published")
    suffix = source.suffix.lower()
    if not source.exists():
        raise SluiceError(f"{source}: no such file or folder")
    if source.is_file() and source.stat().st_size > _MOST_BYTES:
        raise SluiceError(f"{source}: over {_MOST_BYTES >> 20} MiB", remedy="split it: it is read as a whole")
    if source.is_dir() or suffix in extract.SUFFIXES:
        return _told(import_folder(source, out, licence=licence, source=origin, policy=policy))
    if suffix == ".json":
        return asdict(squad(source, out, train_articles=train_articles, licence=licence, source=origin, policy=policy))
    if suffix in table_records.SUFFIXES:
        return _told(import_table(source, out, data, layout, licence=licence, origin=origin, policy=policy))
    known = ", ".join((*table_records.SUFFIXES, ".json", *extract.SUFFIXES))
    raise SluiceError(f"{source}: not a folder, and not one of {known}")


def _told(found: FolderImport | TableImport) -> dict[str, Any]:
    """What was left out as lines."""
    return asdict(found) | {"dropped": [str(fault) for fault in found.dropped]}
