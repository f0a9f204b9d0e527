"""docs/ of the template: twelve pages and twelve thousand words at most, all of them in the index."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from unit.docs.guide import ROOT

PAGES, WORDS = 12, 12_000
DOCS = ROOT / "docs"
pytestmark = pytest.mark.skipif(not (DOCS / "README.md").exists(), reason="a project without these pages")


def test_the_pages_for_a_fork_are_few_and_short() -> None:
    pages = [page for page in DOCS.rglob("*.md") if "proposals" not in page.parts]
    assert len(pages) <= PAGES
    assert sum(len(page.read_text().split()) for page in pages) <= WORDS


def test_every_page_is_in_the_index() -> None:
    index = set(re.findall(r"\]\(([\w-]+\.md)\)", (DOCS / "README.md").read_text()))
    assert {page.name for page in DOCS.glob("*.md")} - {"README.md"} <= index


PAGE = ROOT / "docs" / "troubleshooting.md"
FOLDERS = ("engine/src", "engine/scripts", "loadtest")


def messages(page: str) -> list[str]:
    """What stands as code in the first cell of the tables, without the last section, which is about answers."""
    cells = re.findall(r"^\| (`[^|]+`) \|", page.partition("## It answers badly")[0], re.MULTILINE)
    return [message for cell in cells for message in re.findall(r"`([^`]+)`", cell)]


def sources(root: Path) -> str:
    """All code, with the texts that are written in several pieces as one; and the names of the gates."""
    files = [path for folder in FOLDERS for path in sorted((root / folder).rglob("*.py"))]
    text = "\n".join(path.read_text() for path in [*files, root / "config" / "gates.yaml"])
    return re.sub(r"\"\s*\n\s*f?\"", "", text)


def unknown(message: str, code: str) -> list[str]:
    """The pieces between `…` that no code says."""
    pieces = [piece.strip() for piece in message.split("…")]
    return [piece for piece in pieces if re.search(r"[a-z]{3}", piece) and piece not in code]


def test_every_message_is_one_of_the_code() -> None:
    code = sources(ROOT)
    explained = messages(PAGE.read_text())
    assert len(explained) >= 35
    faults = {message: missing for message in explained if (missing := unknown(message, code))}
    assert not faults
