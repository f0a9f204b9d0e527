"""docs/troubleshooting.md: every message that it explains is one that the code has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from unit.docs.guide import ROOT

PAGE = ROOT / "docs" / "troubleshooting.md"
FOLDERS = ("engine/src", "engine/scripts", "loadtest")
pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="a project without this page")


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


def test_a_message_that_nobody_says_is_found() -> None:
    assert unknown("… is used more than once, twice", "is used more than once") == ["is used more than once, twice"]
