"""Checkpoints of a training run, which transformers writes: complete or absent, each file with its digest.

They lie outside the stage's outputs, which DVC deletes before a run. A folder belongs to one key, the digest of all
that decides the result; another key is another run and finds nothing.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sluice.core.atomic_files import read_json, write_json
from sluice.core.digests import digest_of_file
from sluice.core.errors import SluiceError

_RECORD = "files.json"  # of a checkpoint, written last: without it there is none
_RUNS_KEPT = 3  # unfinished runs of other inputs; older ones are deleted
_FULL = ("No space left", "PytorchStreamWriter", "iostream", "I/O error")


class Checkpoints:
    """The checkpoints of one run, in folders `checkpoint-STEP` of a folder below `folder`."""

    def __init__(self, folder: Path, key: str) -> None:
        self.folder = folder / key[:16]

    @contextmanager
    def written(self, checkpoint: Path, *, leads: bool = True) -> Iterator[None]:
        """Around what writes a checkpoint: it is one when the block has ended."""
        from safetensors import SafetensorError

        try:
            yield
            if leads:
                files = [path for path in sorted(checkpoint.rglob("*")) if path.is_file() and path.name != _RECORD]
                write_json(checkpoint / _RECORD, {str(p.relative_to(checkpoint)): digest_of_file(p) for p in files})
        except (OSError, RuntimeError, SafetensorError) as error:  # torch and safetensors have errors of their own
            if not isinstance(error, OSError) and not any(words in str(error) for words in _FULL):
                raise
            raise SluiceError(
                f"{checkpoint}: the checkpoint cannot be written: {error}",
                remedy="free some space and run it again: it resumes from the previous checkpoint",
            ) from error

    def latest(self) -> Path | None:
        """The folder of the newest checkpoint that is whole. A broken one is reported, and deleted as is one that was
        cut off."""
        found = sorted(self.folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
        for checkpoint in reversed(found):
            if not (fault := _fault(checkpoint)):
                return checkpoint
            if (checkpoint / _RECORD).is_file():
                print(f"train: the checkpoint {checkpoint} {fault}: it is not used", file=sys.stderr)
            shutil.rmtree(checkpoint)
        return None

    def clear(self) -> None:
        """Deletes the checkpoints of a run that is finished, and those of the oldest unfinished ones."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.folder.parent.is_dir():
            others = sorted(self.folder.parent.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
            for folder in others[_RUNS_KEPT:]:
                shutil.rmtree(folder, ignore_errors=True)


def _fault(checkpoint: Path) -> str:
    try:
        expected = dict(read_json(checkpoint / _RECORD))
    except (SluiceError, TypeError, ValueError):
        return "has no whole record"
    for name, sha256 in expected.items():
        if not (checkpoint / name).is_file():
            return f"has no {name}"
        if digest_of_file(checkpoint / name) != sha256:
            return f"does not match the sha256 of {name}"
    return ""
