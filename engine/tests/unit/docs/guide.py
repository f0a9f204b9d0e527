"""Reads the how-to sections of docs/ and applies their examples to a copy of the repository.

A block whose info string ends with a path is a new file or, of the kind `diff`, has lines to add (`+`) between lines
that are there.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from sluice.template.owned import list_files, write_lists
from support.git import commit_all, git

ROOT = Path(__file__).parents[4]
_BLOCK = re.compile(r"^```(\w+) (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Example:
    kind: str
    path: str
    text: str

    def apply(self, root: Path) -> None:
        """Write the new file, or add the lines."""
        file = root / self.path
        if self.kind == "diff":
            file.write_text(_added(file.read_text().split("\n"), self.text.rstrip("\n").split("\n"), self.path))
            return
        assert not file.exists(), f"{self.path} is there already"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(self.text)


@dataclass(frozen=True)
class Guide:
    heading: str
    files: frozenset[str]
    examples: tuple[Example, ...]

    def apply(self, root: Path) -> None:
        for example in self.examples:
            example.apply(root)


def read_guide(page: Path, heading: str) -> Guide:
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", page.read_text(), re.MULTILINE | re.DOTALL)
    assert found, f"{page}: no section {heading!r}"
    section = found[1]
    listed = re.search(r"^Files: (.*)$", section, re.MULTILINE)
    assert listed, f"{page}: {heading}: no line `Files:`"
    return Guide(
        heading,
        frozenset(re.findall(r"`([^`]+)`", listed[1])),
        tuple(Example(*block) for block in _BLOCK.findall(section)),
    )


def _added(lines: list[str], change: list[str], path: str) -> str:
    context = [line[1:] for line in change if not line.startswith("+")]
    places = [
        at
        for at in range(len(lines) - len(context) + 1)
        if all(line.startswith(wanted) for line, wanted in zip(lines[at:], context, strict=False))
    ]
    assert len(places) == 1, f"{path}: {context} is there {len(places)} times"
    at, made = places[0], lines[: places[0]]
    for line in change:
        if line.startswith("+"):
            made.append(line[1:])
        else:
            made.append(lines[at])
            at += 1
    return "\n".join([*made, *lines[at:]])


def copy_repository(target: Path) -> None:
    """Copy the working tree as the only commit of a new repository: a project made from the template."""
    for name in list_files(ROOT):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    git(target, "init", "--quiet")
    git(target, "add", "--all")
    write_lists(target, list_files(target))
    commit_all(target)


def changed(root: Path) -> set[str]:
    told = git(root, "status", "--porcelain", "--untracked-files=all", "-z")
    return {line[3:] for line in told.split("\0") if line}
