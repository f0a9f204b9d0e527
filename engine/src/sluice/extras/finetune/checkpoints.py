"""Checkpoints of a training run: complete or absent, each with its digest, so that a killed run resumes.

They lie outside the stage's outputs, which DVC deletes before a run. A folder belongs to one key, the digest of all
that decides the result; another key is another run and finds nothing.
"""

from __future__ import annotations

import os
import pickle
import shutil
import sys
from pathlib import Path
from typing import Any

from sluice.core.atomic_files import read_json, write_json
from sluice.core.digests import digest_of_file
from sluice.core.errors import SluiceError

_KEPT = 2  # the newest, and the one before for when the newest is broken
_RUNS_KEPT = 3  # unfinished runs of other inputs; older ones are deleted


class Checkpoints:
    """The checkpoints of one run below `folder`. The record (JSON) is written last: without it there is none."""

    def __init__(self, folder: Path, key: str) -> None:
        self.folder = folder / key[:16]

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Writes the state after `step` steps: tensors and plain values. A full disk is a SluiceError."""
        import torch

        file = self._file(step)
        draft = file.with_suffix(f".{os.getpid()}.draft")
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            with draft.open("wb") as stream:
                torch.save(state, stream)
                stream.flush()
                os.fsync(stream.fileno())
            draft.replace(file)
            write_json(file.with_suffix(".json"), {"step": step, "sha256": digest_of_file(file)})
        except (OSError, RuntimeError) as error:  # torch turns what the file says into an error of its own
            raise SluiceError(
                f"{file}: the checkpoint cannot be written: {error}",
                remedy="free some space and run it again: it goes on from the checkpoint before",
            ) from error
        finally:
            draft.unlink(missing_ok=True)
        for old in self._steps()[_KEPT:]:
            self._remove(old)

    def latest(self) -> dict[str, Any] | None:
        """The state of the newest checkpoint that is whole; a broken one is reported and deleted."""
        import torch

        for step in self._steps():
            file = self._file(step)
            if fault := self._fault(file):
                print(f"train: the checkpoint {file} {fault}: it is not used", file=sys.stderr)
                self._remove(step)
                continue
            try:
                state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
            except (OSError, RuntimeError, pickle.UnpicklingError) as error:
                raise SluiceError(
                    f"{file}: torch cannot read this checkpoint: {str(error).splitlines()[0]}",
                    remedy="delete its folder and train again",
                ) from error
            return state
        return None

    def clear(self) -> None:
        """Deletes the checkpoints of a run that is finished, and those of the oldest unfinished ones."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.folder.parent.is_dir():
            others = sorted(self.folder.parent.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
            for folder in others[_RUNS_KEPT:]:
                shutil.rmtree(folder, ignore_errors=True)

    def _file(self, step: int) -> Path:
        return self.folder / f"step-{step:06d}.pt"

    def _steps(self) -> list[int]:
        """Steps that have a record, newest first."""
        return sorted((int(path.stem.removeprefix("step-")) for path in self.folder.glob("step-*.json")), reverse=True)

    def _fault(self, file: Path) -> str:
        try:
            expected = read_json(file.with_suffix(".json"))["sha256"]
        except (SluiceError, KeyError, TypeError):
            return "has a broken record"
        if not file.is_file():
            return "is missing"
        return "" if digest_of_file(file) == expected else "does not match its sha256"

    def _remove(self, step: int) -> None:
        file = self._file(step)
        file.with_suffix(".json").unlink(missing_ok=True)
        file.unlink(missing_ok=True)
