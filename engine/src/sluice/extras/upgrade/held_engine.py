"""The two ways in which a project holds its engine: in git, or installed from a wheel that config/engine.lock pins.

engine/ has the same bytes either way, so a change from one to the other changes what git keeps, and nothing else. It is
staged, and `git reset --hard` undoes it. At every moment in between the project works, and after a kill the same
command goes on.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
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
from sluice.template.init_project import require_clean
from sluice.template.owned import ENGINE, FILES, edits, list_files, version_of

INDEX, VENDORED, INSTALLED = "index", "vendored", "installed"
_IGNORED = ".gitignore"
_LINE = f"/{ENGINE}\n"  # of .gitignore


def install(root: Path, source: str, repository: str) -> str:
    """Takes engine/ out of git, and pins the wheel that holds the same files."""
    require_clean(root, [_IGNORED], _own(root, _ignoring(root)))
    if (lock := read_lock(root)) and run(root, "ls-files", "--", LOCK):
        raise SluiceError(f"{LOCK}: has {lock.version} installed already", remedy="`sluice upgrade` takes a later one")
    return prepare(root, source or INSTALLED, repository)()


def prepare(root: Path, how: str, repository: str) -> Callable[[], str]:
    """For `sluice init --engine`: fetches the wheel, and returns what changes the checkout, whatever is staged."""
    if how == VENDORED:
        return lambda: _vendor(root) if read_lock(root) else f"{ENGINE} is in git"
    lock = _lock(root, "" if how == INSTALLED else how, repository)
    with tempfile.TemporaryDirectory(prefix="engine-") as name:
        wheel = fetch(lock, Path(name))
        lock, files = replace(lock, sha256=digest_of_file(wheel)), contents(wheel)

    def finish() -> str:
        _require_unedited(root)
        remedy = "`sluice engine pack` makes a wheel of the engine that is here; put that where the project finds it"
        require_same(files, pinned(root), f"{lock.requirement}: not the engine of this project", remedy)
        write_atomic(root / LOCK, lock.text, sync=False)
        (root / MARKER).parent.mkdir(exist_ok=True)
        shutil.copyfile(root / LOCK, root / MARKER)
        write_atomic(root / _IGNORED, _ignoring(root), sync=False)
        run(root, "rm", "-r", "--cached", "--quiet", "--ignore-unmatch", "--", ENGINE)
        run(root, "add", "--", LOCK, _IGNORED)
        return f"{LOCK} pins {lock.requirement}; {ENGINE} is not in git any more; staged, not committed"

    return finish


def vendor(root: Path) -> str:
    """Puts engine/ into git, as the wheel has it, and removes the lock."""
    require_clean(root, [_IGNORED], _own(root, _not_ignoring(root)))
    if not read_lock(root):
        raise SluiceError(f"{root / LOCK}: no such file: {ENGINE} is in git already", remedy="there is nothing to do")
    return _vendor(root)


def _vendor(root: Path) -> str:
    _require_unedited(root)
    write_atomic(root / _IGNORED, _not_ignoring(root), sync=False)
    with tempfile.NamedTemporaryFile() as listed:
        listed.write(b"".join(path.encode() + b"\0" for path in pinned(root)))
        listed.flush()
        run(root, "add", "--force", f"--pathspec-from-file={listed.name}", "--pathspec-file-nul")
    run(root, "add", "--", _IGNORED)
    run(root, "rm", "--quiet", "--", LOCK)
    (root / MARKER).unlink(missing_ok=True)
    return f"{ENGINE} is in git, {LOCK} is gone; staged, not committed"


def bring(root: Path, draft: Path) -> None:
    """The engine of another checkout of this repository: copied where its lock pins what was unpacked here."""
    lock, here = read_lock(draft), root / MARKER
    if lock and here.is_file() and here.read_bytes() == (draft / LOCK).read_bytes() and (root / FILES).is_file():
        shutil.rmtree(draft / ENGINE, ignore_errors=True)
        shutil.copytree(root / ENGINE, draft / ENGINE, ignore=shutil.ignore_patterns("__pycache__"))
        (draft / MARKER).parent.mkdir(exist_ok=True)
        shutil.copyfile(draft / LOCK, draft / MARKER)
    elif lock:
        unpack(draft)


def _lock(root: Path, source: str, repository: str) -> EngineLock:
    """Where the wheel of the version that is here lies."""
    version = version_of(root)
    if not source and not re.fullmatch(r"[\w-]+/[\w.-]+", repository):
        remedy = "name it: a file, an address, or `index`"
        raise SluiceError("nothing says where the wheel of the engine is", remedy=remedy)
    released = f"{SERVER}/{repository}/releases/download/v{version}/sluice_engine-{version}-py3-none-any.whl"
    place = Path(source).resolve().as_uri() if source and "://" not in source else source or released
    lock = lock_of(f"{PACKAGE}=={version}" if source == INDEX else f"{PACKAGE} @ {place}")
    if lock.version != version:
        said = f"{lock.requirement}: the engine here is {version}"
        raise SluiceError(said, remedy="take the wheel of that version; `sluice upgrade` takes a later one")
    return lock


def _require_unedited(root: Path) -> None:
    if found := [str(edit) for edit in edits(root, list_files(root)) if edit.path.startswith(ENGINE)]:
        raise ValidationErrors("files of the engine were edited", found, remedy="undo that first; nothing was changed")


def _own(root: Path, ignoring: str) -> tuple[str, ...]:
    """Prefixes of the paths that an earlier run of the same command may have changed."""
    return (ENGINE, LOCK, *([_IGNORED] if _ignored(root) == ignoring else []))


def _ignored(root: Path) -> str:
    path = root / _IGNORED
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _ignoring(root: Path) -> str:
    """.gitignore with engine/ in it."""
    text = _ignored(root)
    return text if _LINE in text.splitlines(keepends=True) else f"{text.rstrip(chr(10))}\n{_LINE}".lstrip("\n")


def _not_ignoring(root: Path) -> str:
    """.gitignore without it."""
    return "".join(line for line in _ignored(root).splitlines(keepends=True) if line != _LINE)
