"""What `sluice data check` says of a file that `sluice data import` could bring in."""

from __future__ import annotations

from pathlib import Path

import pytest

from sluice.data.contract import check
from unit.extras.importing.pdfs import pdf

SCANNED = pdf("A breakwater shelters the harbour.")[:200]


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("good.pdf", pdf("Harbours"), "a .pdf file is no document (.md); bring it in with `sluice data import`"),
        ("BAD.PDF", b"%PDF-1.7\nnothing", "broken PDF: "),
        ("scan.pdf", SCANNED, "broken PDF: "),
        ("empty.pdf", pdf(), "holds no text: are its pages pictures?"),
        ("page.html", b"<p>Hi</p>", "a .html file is no document (.md); bring it in with `sluice data import`"),
    ],
)
def test_it_is_told_why_or_how(folder: Path, name: str, content: bytes, what: str) -> None:
    (folder / "corpus" / name).write_bytes(content)
    (found,) = (str(fault).removeprefix(f"{folder}/") for fault in check(folder).faults)
    assert found.startswith(f"corpus/{name}:1: {what}")
