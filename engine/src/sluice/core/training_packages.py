"""Installs torch and what trains into a checkout's .venv, when a stage first needs them."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

from filelock import FileLock

from sluice.core.errors import SluiceError

_SETUP = Path("engine", "scripts", "setup.py")


def install_training_packages(stage: str) -> None:
    """Run the level `training` of engine/scripts/setup.py once on this machine; `stage` asks for it."""
    folder = Path(sys.prefix)
    if not (folder.parent / _SETUP).is_file():
        remedy = "install engine/src/sluice/extras/finetune/requirements/train.txt and torch"
        raise SluiceError(f"{stage} needs torch, transformers and peft, which are not installed here", remedy=remedy)
    marker = folder / ".training"
    with FileLock(folder / ".training.lock"):
        if not marker.exists():
            print(f"{stage}: installing torch and what trains (about 2 GB, once)", file=sys.stderr, flush=True)
            command = [sys.executable, str(_SETUP), str(folder), "training"]
            if subprocess.run(command, cwd=folder.parent).returncode:
                raise SluiceError(f"{stage}: the packages it needs were not installed", remedy="see above")
            marker.touch()
    importlib.invalidate_caches()
