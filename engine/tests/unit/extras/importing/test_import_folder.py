"""Import of a folder of documents: whole or not at all, with licence and source in every document."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from sluice.core.errors import SluiceError, ValidationErrors
from sluice.data.data_policy import DataPolicy, DocumentPolicy, PrivacyPolicy
from sluice.data.rows import Document, load_corpus
from sluice.extras.importing.import_folder import FolderImport, import_folder
from unit.extras.importing.pdfs import pdf

AWS = "AKIA" + "QWERTYUIOPASDFGH"
MAIL = "first.last@" + "company.org"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with one document of each kind, and a picture."""
    place = tmp_path / "site"
    (place / "Guide").mkdir(parents=True)
    (place / "Guide" / "Getting started.html").write_text("<title>Start</title><p>Cast off the lines.</p>")
    (place / "moles.md").write_text("---\nlicense: MIT\ntags: [sea]\n---\n# Moles\n\nA mole is a wall in the sea.\n")
    (place / "piers.pdf").write_bytes(pdf("A pier stands on piles."))
    (place / "logo.png").write_bytes(b"\x89PNG")
    return place


def bring(place: Path, policy: DataPolicy = DataPolicy(), **more: Any) -> tuple[FolderImport, dict[str, Document]]:
    out = place.parent / "corpus"
    found = import_folder(place, out, licence="CC-BY-4.0", source="https://docs.example.org", policy=policy, **more)
    return found, {document.id: document for document in load_corpus(out)}


def test_every_kind_comes_in_with_licence_and_source(place: Path) -> None:
    found, documents = bring(place)
    assert asdict(found) == {"documents": 3, "words": 19, "redacted": 0, "ignored": ("logo.png",), "dropped": ()}
    assert documents.keys() == {"guide-getting-started", "moles", "piers"}
    start, moles, piers = documents["guide-getting-started"], documents["moles"], documents["piers"]
    assert (start.title, start.text) == ("Start", "Cast off the lines.")
    assert (start.licence, start.source) == ("CC-BY-4.0", "https://docs.example.org (Guide/Getting started.html)")
    assert (moles.title, moles.licence) == ("Moles", "MIT")  # it says its own
    assert (piers.title, piers.text) == ("piers", "A pier stands on piles.")


def test_one_file_can_be_brought_alone(place: Path) -> None:
    found, documents = bring(place / "piers.pdf")
    assert (found.documents, documents["piers"].source) == (1, "https://docs.example.org (piers.pdf)")


def test_with_one_fault_nothing_is_written_and_all_faults_are_told(place: Path) -> None:
    (place / "broken.pdf").write_bytes(b"%PDF-1.7")
    (place / "latin.md").write_bytes(b"Fine.\nCaf\xe9.")
    (place / "Moles.htm").write_text("<p>Another text.</p>")
    with pytest.raises(ValidationErrors) as raised:
        bring(place)
    broken, latin, moles = sorted(raised.value.faults, key=str.casefold)
    assert broken.startswith(f"{place}/broken.pdf:1: broken PDF: ")
    assert latin.startswith(f"{place}/latin.md:2: not UTF-8 text")
    assert moles == f"{place}/moles.md:1: its id would be 'moles', as that of {place}/Moles.htm"
    assert [path.name for path in place.parent.iterdir()] == ["site"]


def test_what_the_contract_would_refuse_is_left_out_with_its_reason(place: Path) -> None:
    (place / "copy.md").write_text("Cast off, the LINES!")
    (place / "key.md").write_text(f"It is {AWS}.")
    found, documents = bring(place)
    assert [str(fault) for fault in found.dropped] == [
        f"{place}/copy.md:1: the same text as Getting started.html",
        f"{place}/key.md:1: secret: AWS Access Key AK… (20 characters)",
    ]
    assert documents.keys() == {"guide-getting-started", "moles", "piers"}


def test_personal_data_goes_by_the_policy(place: Path) -> None:
    (place / "contact.md").write_text(f"Write to {MAIL}.")
    found, documents = bring(place)
    assert found.redacted == 1
    assert documents["contact"].text == "Write to [e-mail address]."
    (place.parent / "corpus").rename(place.parent / "first")
    strict, documents = bring(place, DataPolicy(privacy=PrivacyPolicy(email="refuse")))
    assert "contact" not in documents
    assert "personal data: e-mail address fi… (22 characters)" in str(strict.dropped[0])


def test_an_oversized_file_is_a_fault(place: Path) -> None:
    (place / "long.md").write_text("a word " * 400)
    (place / "wide.pdf").write_bytes(pdf(*["a word " * 20] * 20))
    with pytest.raises(ValidationErrors) as raised:
        bring(place, DataPolicy(documents=DocumentPolicy(max_kib=1)))
    assert [fault.rpartition("/")[2] for fault in raised.value.faults] == [
        "long.md:1: over 1 KiB: split it",
        "wide.pdf:1: its text is over 1 KiB: split it",
    ]


def test_nothing_to_bring_and_a_place_that_is_taken_are_told(place: Path) -> None:
    (place.parent / "empty").mkdir()
    with pytest.raises(ValidationErrors, match=r"no \.md, \.markdown, \.html, \.htm, \.pdf files"):
        bring(place.parent / "empty")
    (place.parent / "corpus").mkdir()
    with pytest.raises(SluiceError, match="already exists"):
        bring(place)


def test_when_every_file_is_left_out_nothing_is_written(place: Path) -> None:
    for path in place.rglob("*.*"):
        path.unlink()
    (place / "key.md").write_text(f"It is {AWS}.")
    with pytest.raises(ValidationErrors, match="every file was left out"):
        bring(place)
    assert not (place.parent / "corpus").exists()
