"""README's section `The tree`: each line describes paths that exist; together they cover every visible folder at the
top of the repository."""

from __future__ import annotations

import re
from pathlib import Path

MOST_LINES = 10


def listed(readme: str) -> dict[str, str]:
    """Path -> description, of the fenced block after the heading; one line may describe several paths."""
    block = re.search(r"^## The tree\n.*?^```\w*\n(.*?)^```$", readme, re.DOTALL | re.MULTILINE)
    assert block, "README.md has no fenced block after the heading `## The tree`"
    lines = [re.split(r"\s{2,}", line, maxsplit=1) for line in block[1].splitlines() if line.strip()]
    assert len(lines) <= MOST_LINES, "a reader takes the tree in at a glance"
    assert all(len(line) == 2 for line in lines), "a line has no description"
    entries = [(path, words) for paths, words in lines for path in paths.split(", ")]
    assert len(entries) == len(dict(entries)), "a path is listed twice"
    return dict(entries)


def test_each_path_of_the_tree_exists(root: Path) -> None:
    missing = [
        path
        for path in listed((root / "README.md").read_text())
        if not (root / path).exists() or (root / path).is_dir() != path.endswith("/")
    ]
    assert not missing


def test_the_tree_has_every_visible_folder(root: Path, tracked: list[str]) -> None:
    folders = {name.partition("/")[0] + "/" for name in tracked if "/" in name and not name.startswith(".")}
    assert folders <= set(listed((root / "README.md").read_text()))
