"""The model cache: missing, damaged and unused files."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from sluice.core.digests import digest_of_file
from sluice.llm.model_files import Models, PinnedFiles

FOLDER = "models"


def size_of(model: PinnedFiles, cache: Path) -> int:
    """Return the bytes of a model's files and of what was made of them; 0 if one is not fetched."""
    files = list(model.cached(cache))
    return _bytes_in(files[0].parent) if all(file.is_file() for file in files) else 0


def faults_of(models: Models, cache: Path) -> list[str]:
    faults = []
    for _, _, pinned in models.pinned():
        for path, sha256 in pinned.cached(cache).items():
            if not path.is_file():
                faults.append(f"{path}: not fetched")
            elif (found := digest_of_file(path)) != sha256:
                faults.append(f"{path}: sha256 is {found}, but config/models.yaml pins {sha256}")
    return faults


def unnamed(named: Iterable[Models], cache: Path) -> dict[Path, int]:
    kept = {path.parent for models in named for _, _, pinned in models.pinned() for path in pinned.cached(cache)}
    found = cache / FOLDER
    folders = sorted(path for path in found.iterdir() if path.is_dir()) if found.is_dir() else []
    return {folder: _bytes_in(folder) for folder in folders if folder not in kept}


def remove(folders: Iterable[Path]) -> None:
    for folder in folders:
        shutil.rmtree(folder)


def _bytes_in(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
