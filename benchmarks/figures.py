"""Figures as a table in Markdown, for benchmarks that have limits to keep."""

from __future__ import annotations

from collections.abc import Sequence

Figure = tuple[str, str, str, bool]


def show(figures: Sequence[Figure]) -> int:
    """Prints (name, value, what it must be, whether that holds); 0 when all hold, else 1: the exit status."""
    print("\n| figure | found | must be |\n|---|---|---|")
    for name, value, limit, holds in figures:
        print(f"| {name} | {value} | {limit} |{'' if holds else ' **missed**'}")
    return 0 if all(holds for *_, holds in figures) else 1
