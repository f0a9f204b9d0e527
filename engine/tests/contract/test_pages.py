"""The pages of the repository: every link leads somewhere, and the engine's index has all of its pages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

_LINK = re.compile(r"!?\[[^\]]*\]\(([^()\s]+)\)")
_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
# An address, or GitHub's own page about a workflow, relative to the README that GitHub shows.
_ELSEWHERE = re.compile(r"[a-z]+:|\.\./\.\./actions/workflows/")


def pages(tracked: list[str]) -> list[str]:
    return [name for name in tracked if name.endswith(".md") and not name.startswith((".github/", "dvc-store/"))]


def anchors(text: str) -> set[str]:
    """Of the headings of a page, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+?)\s*$", _FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken(root: Path, page: str, text: str) -> list[str]:
    """Targets of a page's links that are not there: files of the repository, and headings of its pages. A project may
    delete docs/, or what it calls differently: links of the engine's pages into it are then let pass."""
    found = []
    whole = (root / "docs" / "README.md").exists() or not page.startswith("engine/")
    for target in _LINK.findall(_FENCE.sub("", text)):
        if _ELSEWHERE.match(target):
            continue
        path, _, anchor = target.partition("#")
        file = (root / page).parent / path if path else root / page
        if not whole and file.resolve().is_relative_to((root / "docs").resolve()):
            continue
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
        ("![a](../../actions/workflows/ci.yml/badge.svg)", 0),
        ("```\n[a](nothing.md)\n```", 0),
        ("# One two\n[a](#one-two)", 0),
        ("[a](nothing.md)", 1),
        ("[a](../../nothing.md)", 1),
        ("![a](docs/images/nothing.png)", 1),
        ("[a](README.md#no-such-heading)", 1),
    ],
)
def test_a_link_to_nothing_is_found(root: Path, text: str, faults: int) -> None:
    if text.startswith("#"):
        assert anchors(text) == {"one-two"}
    else:
        assert len(broken(root, "X.md", text)) == faults


def test_every_page_of_the_engine_is_in_its_index(root: Path, tracked: list[str]) -> None:
    for folder in ("engine/docs", "engine/docs/decisions"):
        index = {target.partition("#")[0] for target in _LINK.findall((root / folder / "README.md").read_text())}
        below = "" if folder.endswith("decisions") else "(?:reference/)?"
        here = {
            name.removeprefix(f"{folder}/") for name in tracked if re.fullmatch(rf"{folder}/{below}[\w-]+\.md", name)
        }
        assert here - {"README.md"} <= index, folder
