"""The wheel of an engine, and config/engine.lock, which pins it for a project.

The wheel has engine/ as data and no code that an installation would run. `make` unpacks it into engine/, which git
ignores, and notes the lock in .sluice/ (core/workspace.py).
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sluice.core.digests import digest_of_file
from sluice.core.errors import SluiceError
from sluice.core.processes import program
from sluice.core.workspace import LOCK, MARKER
from sluice.extras.upgrade.versions import check_out
from sluice.template.owned import ENGINE, FILES, edits, read_list, version_of, walk

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
_INSIDE = "sluice_engine/"
_ABOUT = re.compile(r"sluice_engine-[\d.]+\.dist-info/(?:METADATA|RECORD|WHEEL)")
_PROJECT = """\
[project]
name = "{package}"
version = "{version}"
description = "The engine of a project made from Sluice, as files: sluice engine install"
license = "Apache-2.0"
requires-python = ">=3.11"
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[tool.hatch.build.targets.wheel.force-include]
"{inside}" = "{inside}"
"""


@dataclass(frozen=True)
class EngineLock:
    """A pinned wheel; `sha256` is empty until it is fetched."""

    requirement: str
    version: str
    sha256: str = ""

    @property
    def line(self) -> str:
        return self.requirement + (f" --hash=sha256:{self.sha256}" if self.sha256 else "")

    @property
    def text(self) -> str:
        return f"{_HEAD}{self.line}\n"

    def moved(self, version: str) -> EngineLock:
        """Return the lock of another version from the same place, without a digest."""
        return lock_of(self.requirement.replace(self.version, version))


def lock_of(requirement: str) -> EngineLock:
    found = _REQUIREMENT.fullmatch(requirement)
    if not found:
        said = f"{requirement}: not {PACKAGE}==VERSION, nor the address of a sluice_engine-VERSION-py3-none-any.whl"
        raise SluiceError(said, remedy="an address begins with https:// or file:// and holds no name and no key")
    return EngineLock(requirement, found[1] or found[2])


def read_lock(root: Path) -> EngineLock | None:
    """Return the lock of a checkout, or None if engine/ is in git."""
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


def pack(root: Path, out: Path) -> Path:
    """Build the wheel of the committed engine."""
    if read_lock(root):
        raise SluiceError(f"{root / LOCK}: this engine is a wheel already", remedy="take that one")
    with tempfile.TemporaryDirectory(prefix="engine-") as name:
        files = check_out(root, "HEAD", Path(name) / "files")
        if wrong := [edit for edit in edits(files, walk(files)) if edit.path.startswith(ENGINE)]:
            raise SluiceError(f"{wrong[0]}", remedy="`sluice engine check`, and commit; only that is packed")
        project = Path(name) / "project"
        for path in pinned(files):
            target = project / _INSIDE / path.removeprefix(ENGINE)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(files / path, target)
        made = _PROJECT.format(package=PACKAGE, version=version_of(files), inside=_INSIDE.rstrip("/"))
        (project / "pyproject.toml").write_text(made, encoding="utf-8")
        out.mkdir(parents=True, exist_ok=True)
        # Reproducible by default, unless the environment says another time.
        environment = {key: value for key, value in os.environ.items() if key != "SOURCE_DATE_EPOCH"}
        argv = [str(program("hatchling")), "build", "--target", "wheel", "--directory", str(out.resolve())]
        _run(argv, project, "the wheel cannot be built", "fix that and run it again", environment)
        return out / f"{_INSIDE.rstrip('/')}-{version_of(files)}-py3-none-any.whl"


def fetch(lock: EngineLock, folder: Path) -> Path:
    line = folder / "engine.txt"
    line.write_text(f"{lock.line}\n", encoding="utf-8")
    pinned = ("--require-hashes",) if lock.sha256 else ()
    _pip(folder, "download", *pinned, "--dest", str(folder), "-r", str(line), where=lock.requirement)
    return next(folder.glob("*.whl"))


def unpack(root: Path) -> None:
    """Replace engine/ by the wheel of config/engine.lock, as `make` does."""
    if not read_lock(root):
        return
    (root / MARKER).parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="engine-", dir=(root / MARKER).parent) as name:
        _pip(root, "install", "--require-hashes", "--no-compile", "--target", name, "-r", LOCK, where=LOCK)
        shutil.rmtree(root / ENGINE, ignore_errors=True)
        (Path(name) / _INSIDE).rename(root / ENGINE)
    shutil.copyfile(root / LOCK, root / MARKER)


def contents(wheel: Path) -> dict[str, str]:
    """Return the sha256 of each file of engine/ in a wheel, by its path in a checkout.

    Refuse a wheel that holds more: pip puts `.data/purelib` in the place of these files, and the later of two
    of one name."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        files = {name for name in names if name.startswith(_INSIDE) and os.path.normpath(name) == name}
        more = [name for name in names if name not in files and not _ABOUT.fullmatch(name)]
        if more or len(names) > len(set(names)):
            odd = (more or [name for name in names if names.count(name) > 1])[0]
            raise SluiceError(f"{wheel.name}: holds more than an engine, {odd}", remedy="ask who released it")
        return {
            f"{ENGINE}{name.removeprefix(_INSIDE)}": hashlib.sha256(archive.read(name)).hexdigest() for name in files
        }


def pinned(root: Path) -> dict[str, str]:
    """Return the sha256 of each file of engine/ by path, its list included."""
    return {**read_list(root, FILES), FILES: digest_of_file(root / FILES)}


def require_same(found: Mapping[str, str], wanted: Mapping[str, str], what: str, remedy: str) -> None:
    if differing := sorted(path for path in {*found, *wanted} if found.get(path) != wanted.get(path)):
        raise SluiceError(f"{what}: {len(differing)} files differ, such as {differing[0]}", remedy=remedy)


def _pip(root: Path, *words: str, where: str) -> None:
    # Only a wheel: to look at anything else, pip would run code of it.
    argv = [sys.executable, "-m", "pip", *words, "--no-deps", "--only-binary=:all:", "--quiet"]
    remedy = "check the address, the index of pip and its sign-in; where bytes differ, ask who released them"
    _run([*argv, "--disable-pip-version-check"], root, f"{where}: the engine cannot be taken", remedy)


def _run(argv: list[str], root: Path, what: str, remedy: str, environment: Mapping[str, str] | None = None) -> None:
    done = subprocess.run(argv, cwd=root, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-5:]  # the rest is a traceback of pip
        raise SluiceError("\n".join([f"{what}:", *last]), remedy=remedy)
