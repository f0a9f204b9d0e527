"""The pages of the repository: those for a fork are few and short, and every link leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGES, WORDS = 12, 12_000
_LINK = re.compile(r"!?\[[^\]]*\]\(([^()\s]+)\)")
_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def pages(tracked: list[str]) -> list[str]:
    return [name for name in tracked if name.endswith(".md") and not name.startswith((".github/", "dvc-store/"))]


def anchors(text: str) -> set[str]:
    """Of the headings of a page, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+?)\s*$", _FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken(root: Path, page: str, text: str) -> list[str]:
    """Targets of a page's links that are not there: files of the repository, and headings of its pages."""
    found = []
    for target in _LINK.findall(_FENCE.sub("", text)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (root / page).parent / path if path else root / page
        if not file.exists():
            found.append(f"{page}: {target}: no such file")
        elif anchor and file.suffix == ".md" and anchor not in anchors(file.read_text()):
            found.append(f"{page}: {target}: no such heading")
    return found


def test_every_link_leads_somewhere(root: Path, tracked: list[str]) -> None:
    faults = [fault for page in pages(tracked) for fault in broken(root, page, (root / page).read_text())]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("[a](README.md)", 0),
        ("[a](https://example.org/nothing.md)", 0),
        ("```\n[a](nothing.md)\n```", 0),
        ("# One two\n[a](#one-two)", 0),
        ("[a](nothing.md)", 1),
        ("![a](docs/images/nothing.png)", 1),
        ("[a](README.md#no-such-heading)", 1),
    ],
)
def test_a_link_to_nothing_is_found(root: Path, text: str, faults: int) -> None:
    if text.startswith("#"):
        assert anchors(text) == {"one-two"}
    else:
        assert len(broken(root, "X.md", text)) == faults


def test_the_pages_for_a_fork_are_few_and_short(root: Path, tracked: list[str]) -> None:
    ours = [name for name in pages(tracked) if name.startswith("docs/") and not name.startswith("docs/proposals/")]
    words = sum(len((root / name).read_text().split()) for name in ours)
    assert len(ours) <= PAGES
    assert words <= WORDS


def test_every_page_for_a_fork_is_in_the_index(root: Path, tracked: list[str]) -> None:
    index = set(_LINK.findall((root / "docs" / "README.md").read_text()))
    ours = {name.removeprefix("docs/") for name in pages(tracked) if re.fullmatch(r"docs/[\w-]+\.md", name)}
    assert ours - {"README.md"} <= index


def test_every_page_of_the_engine_is_in_its_index(root: Path, tracked: list[str]) -> None:
    for folder in ("engine/docs", "engine/docs/decisions"):
        index = {target.partition("#")[0] for target in _LINK.findall((root / folder / "README.md").read_text())}
        below = "" if folder.endswith("decisions") else r"(?:reference/|figures/)?"
        here = {
            name.removeprefix(f"{folder}/") for name in tracked if re.fullmatch(rf"{folder}/{below}[\w-]+\.md", name)
        }
        assert here - {"README.md"} <= index, folder
