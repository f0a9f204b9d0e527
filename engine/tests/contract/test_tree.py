"""README's section `The tree` names exactly what lies at the top of the repository, one described line for each."""

from __future__ import annotations

import re
from pathlib import Path


def listed(readme: str) -> dict[str, str]:
    """Entry -> description, of the fenced block after the heading."""
    block = re.search(r"^## The tree\n.*?^```\w*\n(.*?)^```$", readme, re.DOTALL | re.MULTILINE)
    assert block, "README.md has no fenced block after the heading `## The tree`"
    lines = [line.split(maxsplit=1) for line in block[1].splitlines() if line.strip()]
    assert len(lines) == len({line[0] for line in lines}), "an entry is listed twice"
    return {line[0]: line[1] if len(line) > 1 else "" for line in lines}


def test_the_tree_is_what_git_tracks(root: Path, tracked: list[str]) -> None:
    there = {name.partition("/")[0] + ("/" if "/" in name else "") for name in tracked}
    assert set(listed((root / "README.md").read_text())) == there


def test_each_entry_says_what_it_is_for(root: Path) -> None:
    silent = [entry for entry, words in listed((root / "README.md").read_text()).items() if not words]
    assert not silent
