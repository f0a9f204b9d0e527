"""Hands out what a rebuild has trained and answered: starter.dvc, and its files in the data remote."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path

from sluice.core.atomic_files import write_atomic
from sluice.core.errors import SluiceError
from sluice.core.workspace import Workspace
from sluice.evaluation.response_cache import REBUILD
from sluice.jobs.dvc_pipeline import dvc
from sluice.release import starter


def hand_out(workspace: Workspace) -> Iterator[str]:
    """Record what was built, add it to DVC, push it, and drop what an earlier starter left in a local remote."""
    from ruamel.yaml import YAML

    os.environ[REBUILD] = "yes"  # the answers of the rebuild are handed out
    pointer = workspace.root / starter.POINTER
    before = _stored(workspace) if pointer.is_file() else set()
    made = starter.record(workspace)
    _run(workspace, "add", "starter")
    yaml = YAML()
    yaml.width = 4096  # one line for each digest
    document = yaml.load(pointer.read_text(encoding="utf-8"))
    document["meta"] = made.model_dump(mode="json")
    stream = io.StringIO()
    yaml.dump(document, stream)
    write_atomic(pointer, stream.getvalue())
    _run(workspace, "push", starter.POINTER)
    for path in before - _stored(workspace):
        path.unlink(missing_ok=True)
    for name, path in starter.objects(workspace, pointer).items():
        yield f"{path.stat().st_size:>12,}  {name}"
    yield f"commit {starter.POINTER} and what was pushed"


def _stored(workspace: Workspace) -> set[Path]:
    pointer = workspace.root / starter.POINTER
    return {starter.folder_list(workspace, pointer), *starter.objects(workspace, pointer).values()}


def _run(workspace: Workspace, *words: str) -> None:
    done, said = dvc(workspace, *words)
    if not done:
        raise SluiceError(f"dvc {' '.join(words)} failed:\n{said}")
