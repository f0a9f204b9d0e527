"""Lineage of a release: adapter, base model, parameters, and all rows of its training data."""

from __future__ import annotations

from pathlib import Path

from sluice.core.atomic_files import read_json
from sluice.core.digests import digest_of
from sluice.core.errors import SluiceError
from sluice.core.workspace import Workspace
from sluice.data.rows import load_rows
from sluice.release.manifest import Manifest, load_judgement


def lineage(workspace: Workspace, manifest: Manifest, folder: Path) -> list[str]:
    """One line for each thing and row. A row says whether data/train.jsonl of this checkout still has it as it was."""
    chat, judgement = manifest.models["chat"], load_judgement(folder)
    lines = [
        f"release {manifest.id} of commit {judgement.commit}, made on {judgement.created}",
        f"data {manifest.data.digest}",
        f"base model sha256 {chat.sha256}, {chat.source}",
    ]
    if manifest.adapter is None:
        return [*lines, "no adapter: nothing was trained"]
    training = read_json(folder / "training.json")
    lines += [
        f"adapter sha256 {manifest.adapter.sha256}",
        f"trained on base sha256 {training.get('base_sha256', 'unknown')}",
        f"examples {training.get('data_digest', 'unknown')}",
    ]
    rows = training.get("rows")
    if not rows:
        raise SluiceError(
            f"{folder / 'training.json'}: lists no rows: the release was made before they were recorded",
            remedy="make a release again: `make release`",
        )
    known = {row.id: digest_of(row.as_dict()) for row in load_rows(workspace.data / "train.jsonl")}
    return lines + [f"row {row} {digest} {_state(known.get(row), digest)}" for row, digest in rows.items()]


def _state(now: str | None, then: str) -> str:
    if now is None:
        return "gone"
    return "as it is" if now == then else "changed since"
