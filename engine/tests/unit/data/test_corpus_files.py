"""Files of a corpus that are no documents, documents that are too large, characters that were lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from sluice.data.contract import check
from sluice.data.corpus_files import check_files
from sluice.data.data_policy import DataPolicy, DocumentPolicy


def said(folder: Path, policy: DataPolicy = DataPolicy()) -> list[str]:
    return [str(fault).removeprefix(f"{folder}/") for fault in check(folder, policy).faults]


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("page.html", b"<p>Hi</p>", "a .html file is no document (.md)"),
        ("Makefile", b"", "a nameless kind of file is no document (.md)"),
    ],
)
def test_another_kind_of_file_is_told(folder: Path, name: str, content: bytes, what: str) -> None:
    (folder / "corpus" / name).write_bytes(content)
    (found,) = said(folder)
    assert found.startswith(f"corpus/{name}:1: {what}")


def test_the_size_of_a_document_is_that_of_the_policy(folder: Path) -> None:
    path = folder / "corpus" / "tides.md"
    path.write_text(path.read_text() + " and so on" * 150)
    assert check_files(folder / "corpus", DocumentPolicy(max_kib=2)) == []
    small = DataPolicy(documents=DocumentPolicy(max_kib=1))
    assert said(folder, small) == ["corpus/tides.md:1: 2 KiB, a document has at most 1: split it"]


@pytest.mark.parametrize(("lost", "code"), [("\ufffd", "FFFD"), ("\x00", "0000"), ("\x1b", "001B")])
def test_lost_characters_are_told_with_line_and_column(folder: Path, lost: str, code: str) -> None:
    path = folder / "corpus" / "tides.md"
    path.write_text(path.read_text() + f"\nThe caf{lost} is open.\n")
    assert said(folder) == [f"corpus/tides.md:10: bad encoding: U+{code} at column 8"]
