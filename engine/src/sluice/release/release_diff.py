"""Differences between two releases: parts by digest, texts line by line, metrics as numbers.

`sluice release diff` prints it, and the notes of a GitHub Release say it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from sluice.core.html_theme import page_environment
from sluice.release import templates
from sluice.release.gates import number
from sluice.release.manifest import Manifest

_DIGITS = 12
_TEXTS = ("prompts", "config")
# GitHub's limit for the notes of a release is 125,000 characters.
_LONGEST_TEXT = 4_000
_LONGEST = 100_000


def markdown(before: tuple[Manifest, Path] | None, after: tuple[Manifest, Path]) -> str:
    """What differs between two releases, for people, on GitHub and in a terminal. Texts of prompts and settings are
    shown as code, whatever they hold; one may read differently and mean the same, then it is no part."""
    old, new = before[0].parts() if before else {}, after[0].parts()
    parts = [(name, old.get(name), new.get(name)) for name in {**old, **new} if old.get(name) != new.get(name)]
    theirs, ours = before[0].evaluation.metrics if before else {}, after[0].evaluation.metrics
    metrics = {name: (theirs.get(name), ours.get(name)) for name in {**theirs, **ours}}
    pages = page_environment(Path(templates.__file__).parent, escape=False)
    pages.filters["figure"] = lambda value: "–" if value is None else number(value)
    pages.filters["digest"] = lambda value: "–" if value is None else f"`{value[:_DIGITS]}`"
    # As code on one line: names of cases are in it, which anybody may have written.
    pages.filters["code"] = lambda text: "`" + re.sub(r"[|`\s]+", " ", text).strip() + "`"
    page = pages.get_template("notes.md.j2")
    whole = page.render(before=before and before[0], after=after[0], parts=parts, metrics=metrics) + "\n"
    for name, text in _texts(before[1], after[1]) if before else ():
        block = _block(name, text)
        if len(whole) + len(block) > _LONGEST:
            return f"{whole}\nFurther texts do not fit here: `sluice release diff` shows them.\n"
        whole += block
    return whole


def _texts(before: Path, after: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    names = {
        path.relative_to(folder).as_posix()
        for folder in (before, after)
        for kind in _TEXTS
        for path in (folder / kind).glob("*.y*ml")
    }
    for name in sorted(names, reverse=True):  # prompts first
        old, new = _lines(before / name), _lines(after / name)
        if old != new:
            yield name, tuple(difflib.unified_diff(old, new, before.name, after.name, lineterm="", n=2))


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []


def _block(name: str, text: Sequence[str]) -> str:
    """A diff in a fence that is longer than any inside it."""
    shown = "\n".join(text)
    if len(shown) > _LONGEST_TEXT:
        shown = shown[: shown.rfind("\n", 0, _LONGEST_TEXT)] + "\n…"
    ticks = max((len(run) for run in re.findall(r"`{3,}", shown)), default=2) + 1
    return f"\n### {name}\n\n{'`' * ticks}diff\n{shown}\n{'`' * ticks}\n"
