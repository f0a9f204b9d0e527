"""config/engine.lock: the wheel that an installed project has its engine from.

One line as pip reads it: where the wheel is, and its sha256. `make` has pip unpack it into engine/, which git ignores,
and notes the lock in .sluice/: an engine that another lock brought is noticed (core/workspace.py).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from sluice.core.errors import SluiceError
from sluice.core.workspace import LOCK

PACKAGE = "sluice-engine"
_VERSION = r"\d+\.\d+\.\d+"
# No name or key within an address: the file is in git. pip takes them from ~/.netrc.
_ADDRESS = rf"(?:https?|file)://[^\s@]*/sluice_engine-({_VERSION})-py3-none-any\.whl"
_REQUIREMENT = re.compile(rf"{PACKAGE}(?:==({_VERSION})| @ {_ADDRESS})")
_PINNED = re.compile(r"(.+) --hash=sha256:([0-9a-f]{64})")
_HEAD = """\
# The engine of this project: `make` unpacks this wheel of the template into engine/, which is not in git.
# `sluice engine install` writes this file, `sluice upgrade` moves it on, `sluice engine vendor` removes it.
"""


@dataclass(frozen=True)
class EngineLock:
    """`requirement`: what pip installs, `sluice-engine==0.2.0` from an index or `sluice-engine @ ADDRESS`. `version`:
    the one that it names. `sha256`: of the wheel; empty as long as it was not fetched."""

    requirement: str
    version: str
    sha256: str = ""

    @property
    def line(self) -> str:
        """As pip reads it."""
        return self.requirement + (f" --hash=sha256:{self.sha256}" if self.sha256 else "")

    @property
    def text(self) -> str:
        """The file."""
        return f"{_HEAD}{self.line}\n"

    def moved(self, version: str) -> EngineLock:
        """The lock of another version from the same place, without a digest."""
        return lock_of(self.requirement.replace(self.version, version))


def lock_of(requirement: str) -> EngineLock:
    """The lock of a requirement, without a digest."""
    found = _REQUIREMENT.fullmatch(requirement)
    if not found:
        said = f"{requirement}: not {PACKAGE}==VERSION, nor the address of a sluice_engine-VERSION-py3-none-any.whl"
        raise SluiceError(said, remedy="an address begins with https:// or file:// and holds no name and no key")
    return EngineLock(requirement, found[1] or found[2])


def read_lock(root: Path) -> EngineLock | None:
    """The lock of a checkout; None where engine/ is in git."""
    path = root / LOCK
    if not path.is_file():
        return None
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    pinned = _PINNED.fullmatch(lines[0]) if len(lines) == 1 else None
    if not pinned:
        raise SluiceError(f"{path}: not one line with one sha256", remedy="restore it with git")
    try:
        lock = lock_of(pinned[1])
    except SluiceError as error:
        raise SluiceError(f"{path}: {error.message}", remedy="restore it with git") from None
    return EngineLock(lock.requirement, lock.version, pinned[2])
