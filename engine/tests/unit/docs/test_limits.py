"""docs/ of the template: twelve pages and twelve thousand words at most, all of them in the index."""

from __future__ import annotations

import re

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


def test_the_screenshot_is_small() -> None:
    assert (DOCS / "images" / "chat.png").stat().st_size < 150_000
