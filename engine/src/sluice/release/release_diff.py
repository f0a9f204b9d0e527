"""Differences between two releases: parts by digest, texts line by line, metrics as numbers.

`compare_releases` reads two release folders; `markdown` is what `sluice release diff` prints and what the notes of a
GitHub Release say.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class PartDiff:
    """One part. None where a release does not have it."""

    name: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class ReleaseDiff:
    """`parts` and `texts` hold what differs, `metrics` all: {name: (before, after)}. `texts`: {file: lines of a diff};
    a file may read differently and mean the same, then it is no part."""

    before: Manifest | None
    after: Manifest
    parts: tuple[PartDiff, ...]
    texts: Mapping[str, tuple[str, ...]]
    metrics: Mapping[str, tuple[float | None, float | None]]


def compare_releases(before: tuple[Manifest, Path] | None, after: tuple[Manifest, Path]) -> ReleaseDiff:
    """What differs between two releases.

    Args:
        before: Manifest and folder; None before the first release.
        after: The same of the other.
    """
    old, new = before[0].parts() if before else {}, after[0].parts()
    parts = [PartDiff(name, old.get(name), new.get(name)) for name in {**old, **new} if old.get(name) != new.get(name)]
    measured = before[0].evaluation.metrics if before else {}
    names = {**measured, **after[0].evaluation.metrics}
    metrics = {name: (measured.get(name), after[0].evaluation.metrics.get(name)) for name in names}
    texts = dict(_texts(before[1], after[1])) if before else {}
    return ReleaseDiff(before[0] if before else None, after[0], tuple(parts), texts, metrics)


def markdown(difference: ReleaseDiff) -> str:
    """For people, on GitHub and in a terminal. Texts of prompts and settings are shown as code, whatever they hold."""
    pages = page_environment(Path(templates.__file__).parent, escape=False)
    pages.filters["figure"] = lambda value: "–" if value is None else number(value)
    pages.filters["digest"] = lambda value: "–" if value is None else f"`{value[:_DIGITS]}`"
    # As code on one line: names of cases are in it, which anybody may have written.
    pages.filters["code"] = lambda text: "`" + re.sub(r"[|`\s]+", " ", text).strip() + "`"
    whole = pages.get_template("notes.md.j2").render(vars(difference)) + "\n"
    for name, text in difference.texts.items():
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
