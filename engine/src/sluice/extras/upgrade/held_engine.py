"""The two ways in which a project holds its engine: in git, or from a wheel that config/engine.lock pins.

engine/ has the same bytes either way. A change is staged, and `git reset --hard` undoes it; after a kill the project
works, and the same command goes on.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from sluice.core.atomic_files import write_atomic
from sluice.core.digests import digest_of_file
from sluice.core.errors import SluiceError, ValidationErrors
from sluice.core.git import SERVER, run
from sluice.core.workspace import LOCK, MARKER
from sluice.extras.upgrade.engine_wheel import (
    PACKAGE,
    EngineLock,
    contents,
    fetch,
    lock_of,
    pinned,
    read_lock,
    require_same,
    unpack,
)
from sluice.extras.upgrade.init_project import require_clean
from sluice.template.owned import ENGINE, FILES, edits, list_files, version_of

INDEX, VENDORED, INSTALLED = "index", "vendored", "installed"
_IGNORED = ".gitignore"
_LINE = f"/{ENGINE}\n"  # of .gitignore


def install(root: Path, source: str, repository: str) -> str:
    """Take engine/ out of git, and pin the wheel that holds the same files."""
    require_clean(root, [_IGNORED], _own(root, ignored=True))
    if (lock := read_lock(root)) and run(root, "ls-files", "--", LOCK):
        raise SluiceError(f"{LOCK}: has {lock.version} installed already", remedy="`sluice upgrade` takes a later one")
    said, hold = prepare(root, source or INSTALLED, repository)
    hold()
    return f"{said}; staged, not committed"


def prepare(root: Path, how: str, repository: str) -> tuple[str, Callable[[], None]]:
    """Require a wheel that holds this engine; say where the engine will be, and return what takes it there."""
    if how == VENDORED and not read_lock(root):
        return f"{ENGINE} is in git", lambda: None
    if found := [str(edit) for edit in edits(root, list_files(root)) if edit.path.startswith(ENGINE)]:
        raise ValidationErrors("files of the engine were edited", found, remedy="undo that first; nothing was changed")
    if how == VENDORED:
        return f"{ENGINE} is in git, {LOCK} is gone", partial(_vendor, root)
    lock = _lock(root, "" if how == INSTALLED else how, repository)
    with tempfile.TemporaryDirectory(prefix="engine-") as name:
        wheel = fetch(lock, Path(name))
        lock, files = replace(lock, sha256=digest_of_file(wheel)), contents(wheel)
    remedy = "`sluice engine pack` makes a wheel of the engine that is here; put that where the project finds it"
    require_same(files, pinned(root), f"{lock.requirement}: not the engine of this project", remedy)
    said = f"{LOCK} pins {lock.requirement}; {ENGINE} is in {_IGNORED}, not in git any more"
    return said, partial(_install, root, lock)


def _install(root: Path, lock: EngineLock) -> None:
    write_atomic(root / LOCK, lock.text, sync=False)
    (root / MARKER).parent.mkdir(exist_ok=True)
    shutil.copyfile(root / LOCK, root / MARKER)
    write_atomic(root / _IGNORED, _gitignore(root, ignored=True), sync=False)
    run(root, "rm", "-r", "--cached", "--quiet", "--ignore-unmatch", "--", ENGINE)
    run(root, "add", "--", LOCK, _IGNORED)


def vendor(root: Path) -> str:
    require_clean(root, [_IGNORED], _own(root, ignored=False))
    if not read_lock(root):
        raise SluiceError(f"{root / LOCK}: no such file: {ENGINE} is in git already", remedy="there is nothing to do")
    said, hold = prepare(root, VENDORED, "")
    hold()
    return f"{said}; staged, not committed"


def _vendor(root: Path) -> None:
    write_atomic(root / _IGNORED, _gitignore(root, ignored=False), sync=False)
    paths = b"".join(path.encode() + b"\0" for path in pinned(root))
    run(root, "update-index", "--add", "-z", "--stdin", given=paths)
    run(root, "add", "--", _IGNORED)
    run(root, "rm", "--quiet", "--", LOCK)
    (root / MARKER).unlink(missing_ok=True)


def bring(root: Path, draft: Path) -> None:
    """Bring the engine to another checkout: a copy if its lock pins what was unpacked here."""
    lock, here = read_lock(draft), root / MARKER
    if lock and here.is_file() and here.read_bytes() == (draft / LOCK).read_bytes() and (root / FILES).is_file():
        shutil.rmtree(draft / ENGINE, ignore_errors=True)
        shutil.copytree(root / ENGINE, draft / ENGINE, ignore=shutil.ignore_patterns("__pycache__"))
        (draft / MARKER).parent.mkdir(exist_ok=True)
        shutil.copyfile(draft / LOCK, draft / MARKER)
    elif lock:
        unpack(draft)


def _lock(root: Path, source: str, repository: str) -> EngineLock:
    version = version_of(root)
    if not source and not re.fullmatch(r"[\w-]+/[\w.-]+", repository):
        remedy = "name a file, an address or `index`: `init --engine WHEEL`, `engine install --from WHEEL`"
        raise SluiceError("nothing says where the wheel of the engine is", remedy=remedy)
    released = f"{SERVER}/{repository}/releases/download/v{version}/sluice_engine-{version}-py3-none-any.whl"
    place = Path(source).resolve().as_uri() if source and "://" not in source else source or released
    lock = lock_of(f"{PACKAGE}=={version}" if source == INDEX else f"{PACKAGE} @ {place}")
    if lock.version != version:
        said = f"{lock.requirement}: the engine here is {version}"
        raise SluiceError(said, remedy="take the wheel of that version; `sluice upgrade` takes a later one")
    return lock


def _own(root: Path, *, ignored: bool) -> tuple[str, ...]:
    """Return prefixes of the paths that an earlier run of the same command may have changed."""
    path = root / _IGNORED
    done = path.is_file() and path.read_text(encoding="utf-8") == _gitignore(root, ignored=ignored)
    return (ENGINE, LOCK, *([_IGNORED] if done else []))


def _gitignore(root: Path, *, ignored: bool) -> str:
    path = root / _IGNORED
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.is_file() else []
    if ignored and _LINE not in lines:
        return f"{''.join(lines).rstrip(chr(10))}\n{_LINE}".lstrip("\n")
    return "".join(line for line in lines if ignored or line != _LINE)
