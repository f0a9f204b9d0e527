"""What belongs to the engine: all of engine/, and the files that GitHub, DVC, git and make want outside of it.

engine/OWNED lists the latter and engine/FILES the former, with sha256, so that an edited file is noticed without any
history. In the template itself an edit is normal: `sluice engine check`, which pre-commit runs, writes both lists anew.
A project never writes them, but when `sluice init` removes an extra.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Literal

from sluice.core.atomic_files import write_atomic
from sluice.core.digests import digest_of_file
from sluice.core.errors import SluiceError
from sluice.core.git import run
from sluice.core.workspace import LOCK
from sluice.template.extension_points import point_for

ENGINE = "engine/"
OWNED, FILES = "engine/OWNED", "engine/FILES"
# Outside of engine/, by the reason why a file cannot lie there. The first match counts.
_REASONS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "GitHub reads them from .github/ alone. A workflow of your own is another file there",
        (".github/workflows/*", ".github/actions/*", ".github/dependabot.yml", ".github/zizmor.yml"),
    ),
    (
        "programs look for them at the top (make, pre-commit, git, buildah, the machine that runs the tests)",
        ("Makefile", ".pre-commit-config.yaml", ".gitattributes", ".containerignore", ".ci/run", ".gitleaks.toml"),
    ),
    (
        "DVC looks for them here, and its stages are the engine's; their numbers, pipelines/params.yaml, are yours",
        (".dvc/.gitignore", ".dvcignore", "pipelines/dvc.yaml", "pipelines/sagemaker*", "pipelines/container/*"),
    ),
)
_HEAD = """\
# The engine's files outside of engine/. An upgrade replaces them, and `make check` names one that was edited.
# To make one your own, list it under `adopted:` in config/project.yaml: an upgrade then merges it.
# `sluice engine check` writes this file in the template; `sha256sum --check engine/OWNED` reads it.
"""
Kind = Literal["changed", "added", "removed"]


@dataclass(frozen=True)
class Edit:
    """A file of the engine that is not as the template has it."""

    path: str
    kind: Kind

    def __str__(self) -> str:
        return f"{self.path}: {self.kind}; {point_for(self.path)}"


def list_files(root: Path, *, untracked: bool = True) -> list[str]:
    """Files of a checkout."""
    others = ("--others", "--exclude-standard") if untracked else ()
    listed = run(root, "ls-files", "--cached", *others, "-z").split("\0")
    if (root / LOCK).is_file():  # git ignores an installed engine
        listed += [str(path.relative_to(root)) for path in (root / ENGINE).rglob("*") if path.suffix != ".pyc"]
    return sorted(path for path in set(listed) if path and (root / path).is_file())


def read_list(root: Path, name: str) -> dict[str, str]:
    """sha256 by path of engine/OWNED or engine/FILES."""
    path = root / name
    if not path.is_file():
        raise SluiceError(f"{path}: no such file", remedy="restore it with git")
    found = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line and not line.startswith("#"):
            digest, _, file = line.partition("  ")
            if len(digest) != 64 or not file:
                raise SluiceError(f"{path}:{number}: not a digest and a path", remedy="restore it with git")
            found[file] = digest
    return found


def version_of(root: Path) -> str:
    """Version of the engine in a checkout."""
    path = root / "engine" / "pyproject.toml"
    try:
        return str(tomllib.loads(path.read_text(encoding="utf-8"))["project"]["version"])
    except (OSError, tomllib.TOMLDecodeError, KeyError):
        raise SluiceError(f"{path}: says no version of the engine", remedy="restore it with git") from None


def edits(root: Path, files: Iterable[str]) -> list[Edit]:
    """Files of the engine that differ from its lists."""
    there = set(files)
    wanted = {**read_list(root, OWNED), **read_list(root, FILES)}
    inside = {path for path in there if path.startswith(ENGINE)} - {FILES}
    found = [Edit(path, "added") for path in inside - set(wanted)]
    for path, digest in wanted.items():
        if path not in there:
            found.append(Edit(path, "removed"))
        elif not (root / path).is_file() or digest_of_file(root / path) != digest:  # a link to nowhere is none
            found.append(Edit(path, "changed"))
    return sorted(found, key=lambda edit: edit.path)


def write_lists(root: Path, files: Iterable[str], *, listed: bool = False) -> list[str]:
    """Writes engine/OWNED and engine/FILES for the files as they are."""
    there = sorted(set(files))
    if listed:
        before = (root / OWNED).read_text(encoding="utf-8").splitlines(keepends=True)
        paths = {line: line.rstrip("\n").partition("  ")[2] for line in before if line[0] != "#"}
        kept = [line for line in before if paths.get(line) is None or paths[line] in there]
        owned = "".join(_lines(root, [paths[line]]) if line in paths else line for line in kept)
    else:
        named = {
            reason: [path for path in there if any(fnmatch(path, pattern) for pattern in patterns)]
            for reason, patterns in _REASONS
        }
        owned = _HEAD + "".join(f"#\n# {reason}:\n{_lines(root, paths)}" for reason, paths in named.items())
    changed = [OWNED] if _write(root / OWNED, owned) else []
    inside = sorted({path for path in there if path.startswith(ENGINE)} - {FILES} | {OWNED})
    return changed + ([FILES] if _write(root / FILES, _lines(root, inside)) else [])


def refused(found: Iterable[Edit], adopted: Iterable[str], owned: Mapping[str, str]) -> list[Edit]:
    """The edits that a project may not make: all but those of files of OWNED that it has adopted."""
    free = set(adopted) & set(owned)
    return [edit for edit in found if edit.path not in free]


def _lines(root: Path, paths: Iterable[str]) -> str:
    return "".join(f"{digest_of_file(root / path)}  {path}\n" for path in paths)


def _write(path: Path, text: str) -> bool:
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return False
    write_atomic(path, text, sync=False)
    return True
