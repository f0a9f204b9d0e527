"""`sluice init`: gives a repository names of its own, everywhere, in one change that git can undo.

First everything is worked out in memory, then written and staged: `git reset --hard` brings the old state back. From
the names in `.template.yaml`, so that a second time changes nothing and other names later are no different.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sluice.core.errors import SluiceError
from sluice.core.files import write_atomic
from sluice.core.git import run
from sluice.template.names import RECORD, Names, Record, dump_record
from sluice.template.rename import Renamer

# What stands and falls with the starter data: its pointer, the remote that holds it, and the test of both.
STARTER = ("data.dvc", "dvc-store/", "engine/tests/house/test_data_remote.py")
_WRITERS = tuple(f"write_{page}.py" for page in ("schemas", "golden_manifests", "workflow_reference", "cli_reference"))
_SECONDS = 300


@dataclass(frozen=True)
class Change:
    """`old` and `new`: paths, the same where a file stays. `text`: None for what is no text, which only moves; `lines`:
    how many of it are others."""

    old: str
    new: str
    text: str | None
    lines: int


@dataclass(frozen=True)
class Plan:
    """What `init` would do. `removed`: tracked files that go."""

    record: Record
    changes: list[Change]
    removed: list[str]

    @property
    def empty(self) -> bool:
        return not self.changes and not self.removed


def require_clean(root: Path) -> None:
    """SluiceError when git would not bring this state back."""
    if status := run(root, "status", "--porcelain"):
        raise SluiceError(
            f"{root}: {len(status.splitlines())} files differ from the last commit, such as {status.splitlines()[0]}",
            remedy="commit or stash them first, so that `git reset --hard` can undo this",
        )


def plan(root: Path, record: Record, names: Names, *, starter_data: bool) -> Plan:
    """Works out every change. SluiceError when a new name is in use already. Reads, writes nothing."""
    dropped = record.starter_data and not starter_data
    target = record.model_copy(update={"names": names, "starter_data": record.starter_data and starter_data})
    paths = tracked(root)
    texts = read_texts(root, paths)
    removed = [path for path in paths if dropped and path.startswith(STARTER)]
    renamer = Renamer(record.names, names)
    renamer.require_free(texts)
    changes = []
    for path in sorted(set(paths) - set(removed)):
        text, moved = texts.get(path), renamer.path(path)
        renamed = None if text is None else renamer.text(path, text)
        if path == RECORD:
            renamed = dump_record(target)
        if dropped and path == "README.md" and renamed is not None:
            renamed = "".join(line for line in renamed.splitlines(keepends=True) if not line.startswith(STARTER[:2]))
        if (moved, renamed) != (path, text):
            changes.append(Change(path, moved, renamed, _differing(text or "", renamed or "")))
    return Plan(target, changes, removed)


def apply(root: Path, plan: Plan) -> list[str]:
    """Writes the plan and stages it. Returns what is left to do by hand, in words."""
    before = _ignored(root)
    for path in plan.removed:
        (root / path).unlink()
    for change in plan.changes:
        rewrite(root / change.old, root / change.new, change.text)
    for folder in {(root / path).parent for path in (*plan.removed, *(one.old for one in plan.changes))}:
        _drop_empty(folder, root)
    _keep_ignored(root, before)
    run(root, "add", "--all")  # now, so that the writers see tracked files
    left = [*tidy(root), *_regenerate(root)]
    run(root, "add", "--all")
    return left


def rewrite(old: Path, new: Path, text: str | None) -> None:
    """Gives a file another place and another text, and leaves its mode. Without a text it only moves."""
    new.parent.mkdir(parents=True, exist_ok=True)
    if text is None:
        old.rename(new)
        return
    mode = old.stat().st_mode
    if old != new:
        old.unlink()
    write_atomic(new, text, sync=False)
    new.chmod(mode)


def _ignored(root: Path) -> list[str]:
    """Files and folders that git ignores, such as the private state of this machine."""
    status = run(root, "status", "--porcelain", "--ignored", "-z")
    return [entry[3:] for entry in status.split("\0") if entry.startswith("!! ")]


def _keep_ignored(root: Path, before: list[str]) -> None:
    """What was ignored stays so in this clone: `.gitignore` has the new names only, and state is never committed."""
    exposed = sorted(set(before) - set(_ignored(root)))
    if exposed:
        exclude = root / run(root, "rev-parse", "--git-path", "info/exclude")
        exclude.parent.mkdir(exist_ok=True)
        there = exclude.read_text(encoding="utf-8") if exclude.is_file() else ""
        write_atomic(exclude, there + "".join(f"/{path}\n" for path in exposed if (root / path).exists()))


def tracked(root: Path) -> list[str]:
    return [path for path in run(root, "ls-files", "-z").split("\0") if path]


def read_texts(root: Path, paths: Iterable[str]) -> dict[str, str]:
    """Those files that are text, by path. Links and files that are no UTF-8 are not."""
    found = {}
    for path in paths:
        file = root / path
        if file.is_symlink() or not file.is_file():
            continue
        raw = file.read_bytes()
        if b"\0" in raw:
            continue
        try:
            found[path] = raw.decode()
        except UnicodeDecodeError:
            continue
    return found


def tidy(root: Path) -> list[str]:
    """Sorts imports and formats, for a longer name breaks lines elsewhere. What no formatter can break, such as
    messages, the linter then lets be. What could not be done is returned in words."""
    left = []
    for words in (("check", "--select", "I", "--fix"), ("format",)):
        if fault := _call(root, _ruff(*words), {}):
            left.append(f"ruff {words[0]}: {fault}; `make format` does it again")
    settings = root / "pyproject.toml"
    text = settings.read_text(encoding="utf-8")
    if 'ignore = ["E501"' not in text and _call(root, _ruff("check", "--select", "E501"), {}):
        write_atomic(settings, text.replace("\nignore = [", '\nignore = ["E501", ', 1))
    return left


def _regenerate(root: Path) -> list[str]:
    """Writes the pages and goldens anew that are made from the code. What could not be done is returned in words."""
    environment = {"PYTHONPATH": str(root / "engine" / "src")}
    calls = {f"scripts/{name}": _call(root, [sys.executable, f"scripts/{name}"], environment) for name in _WRITERS}
    return [f"{name}: {fault}; `.venv/bin/python {name}` does it again" for name, fault in calls.items() if fault]


def _ruff(*words: str) -> list[str]:
    return [str(Path(sys.executable).with_name("ruff")), *words, "--no-cache", "--quiet", "."]


def _call(root: Path, argv: list[str], environment: Mapping[str, str]) -> str:
    """The last line of what went wrong; empty when nothing did."""
    try:
        done = subprocess.run(
            argv, cwd=root, env={**os.environ, **environment}, capture_output=True, text=True, timeout=_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    words = (done.stderr or done.stdout).strip().splitlines()
    return (words[-1] if words else f"exit code {done.returncode}") if done.returncode else ""


def _differing(old: str, new: str) -> int:
    pairs = zip(old.splitlines(), new.splitlines(), strict=False)
    return sum(one != other for one, other in pairs) + abs(old.count("\n") - new.count("\n"))


def _drop_empty(folder: Path, root: Path) -> None:
    """Git tracks no folders; what is left of one is caches at most."""
    while folder != root and folder.is_dir():
        shutil.rmtree(folder / "__pycache__", ignore_errors=True)
        if any(folder.iterdir()):
            return
        folder.rmdir()
        folder = folder.parent
