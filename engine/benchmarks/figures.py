"""Figures as tables in Markdown, for benchmarks that have limits to keep and pages that hold what they found."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path

Figure = tuple[str, str, str, bool]
Tables = list[str]  # lines of one
PAGE = Path(__file__).resolve().parents[1] / "docs" / "figures.md"


def percent(share: float) -> str:
    return f"{share:.1%}"


def show(figures: Sequence[Figure]) -> int:
    """Prints (name, value, what it must be, whether that holds); 0 when all hold, else 1: the exit status."""
    print("\n| figure | found | must be |\n|---|---|---|")
    for name, value, limit, holds in figures:
        print(f"| {name} | {value} | {limit} |{'' if holds else ' **missed**'}")
    return 0 if all(holds for *_, holds in figures) else 1


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in (head, *rows)]
    return "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:]])


def which_run() -> str:
    """Of which run figures are: day, commit, machine."""
    words = ["git", "rev-parse", "--short=12", "HEAD"]
    commit = subprocess.run(words, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    cores, load = os.cpu_count(), os.getloadavg()[0]
    return f"Measured on {date.today()} at {commit.stdout.strip()}, on {cores} cores, load average {load:.1f}."


def write_block(name: str, text: str) -> None:
    """Puts `text`, and of which run it is, between the comments `<!-- name: begin -->` and `<!-- name: end -->` of
    engine/docs/figures.md."""
    text = f"{which_run()}\n\n{text}"
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    found = re.sub(f"{begin}.*?{end}", lambda _: f"{begin}\n{text}\n{end}", PAGE.read_text(), flags=re.DOTALL)
    if begin not in found:
        sys.exit(f"{PAGE} has no {begin}")
    PAGE.write_text(found)
