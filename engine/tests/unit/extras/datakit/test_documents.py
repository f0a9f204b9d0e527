"""Documents are imported as a whole or not at all."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from sluice.core.errors import SluiceError, ValidationErrors
from sluice.data.contract import check
from sluice.data.privacy import DataPolicy, DocumentPolicy, PrivacyPolicy
from sluice.data.rows import Document, load_corpus
from sluice.extras.datakit.documents import ExtractedText, ExtractError, extract, import_documents
from unit.extras.datakit.conftest import pdf

AWS = "AKIA" + "QWERTYUIOPASDFGH"
MAIL = "first.last@" + "company.org"
DEEP = 20_000
BOMB = "a: &a [x, x]\n" + "".join(f"{c}: &{c} [{f'*{b}, ' * 99}*{b}]\n" for b, c in ("ab", "bc", "cd"))
PAGE = """<!doctype html><html><head><title>Piers &amp; quays</title><style>p { color: red }</style></head><body>
<nav><a href="/">Home</a></nav><header>Our site</header>
<main><h1>Piers</h1><p>A <b>pier</b> stands on <a href="/piles">piles</a>.</p>
<ul><li>oak</li><li>steel</li></ul><table><tr><th>kind</th><th>years</th></tr><tr><td>oak</td><td>50</td></tr></table>
<script>alert(1)</script></main><footer>Imprint</footer></body></html>"""


def read(tmp_path: Path, name: str, content: bytes) -> ExtractedText:
    path = tmp_path / name
    path.write_bytes(content)
    return extract(path)


def test_html_gives_its_content_as_markdown_and_nothing_of_the_site(tmp_path: Path) -> None:
    found = read(tmp_path, "a.html", PAGE.encode())
    assert found[0] == "Piers & quays"
    assert found[1].startswith("# Piers\n\nA **pier** stands on piles.\n\n- oak\n- steel")
    assert "| oak | 50 |" in found[1]
    assert not [foreign for foreign in ("Home", "Our site", "Imprint", "alert", "color") if foreign in found[1]]


@pytest.mark.parametrize(
    ("name", "content", "title", "text"),
    [
        ("a.htm", b'<html><head><meta charset="iso-8859-1"></head><body><p>Caf\xe9</p></body></html>', "", "Café"),
        ("a.pdf", pdf("On piles.", "Oak lasts 50 years."), "", "On piles.\nOak lasts 50 years."),
        ("a.md", b"\xef\xbb\xbf# Piers #\r\n\r\nPiles.  \r\n\r\n\r\n\r\nOak.", "Piers", "# Piers #\n\nPiles.\n\nOak."),
        ("a.md", b"---\ntitle: Moles\nlicence: MIT\n---\n# Other\nText.", "Moles", "# Other\nText."),
    ],
)
def test_each_kind_gives_title_and_text(tmp_path: Path, name: str, content: bytes, title: str, text: str) -> None:
    assert read(tmp_path, name, content)[:2] == (title, text)


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.md", b"Fine.\nCaf\xe9.", "not UTF-8"),
        ("a.md", b"---\ntitle: [\n---\nText.", "YAML"),
        ("a.pdf", pdf(), "no text"),
        ("deep.html", b"<div>" * DEEP + b"x" + b"</div>" * DEEP, "nested too deeply"),
        ("bomb.md", f"---\n{BOMB}---\nText.".encode(), "more than 100000 keys"),
        ("a.pdf", pdf("Half of it.")[:150], "broken PDF"),
    ],
)
def test_weakness_8_what_cannot_be_read(tmp_path: Path, name: str, content: bytes, why: str) -> None:
    with pytest.raises(ExtractError, match=why):
        read(tmp_path, name, content)


def test_an_encrypted_pdf_says_so(tmp_path: Path) -> None:
    from pypdf import PdfReader, PdfWriter

    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(pdf("Sealed."))))
    writer.encrypt("open sesame", algorithm="RC4-128")
    writer.write(tmp_path / "sealed.pdf")
    with pytest.raises(ExtractError, match="encrypted"):
        extract(tmp_path / "sealed.pdf")


def test_the_contract_says_of_a_stray_file_why_or_how(folder: Path) -> None:
    (folder / "corpus" / "BAD.PDF").write_bytes(b"%PDF-1.7\nnothing")
    (folder / "corpus" / "page.html").write_text("<p>Hi</p>")
    bad, page = check(folder).faults
    assert ("broken PDF" in bad.what, "`sluice data import`" in page.what) == (True, True)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    place = tmp_path / "site"
    (place / "Guide").mkdir(parents=True)
    (place / "Guide" / "Getting started.html").write_text("<title>Start</title><p>Cast off the lines.</p>")
    (place / "moles.md").write_text("---\nlicense: MIT\ntags: [sea]\n---\n# Moles\n\nA mole is a wall in the sea.\n")
    (place / "piers.pdf").write_bytes(pdf("A pier stands on piles."))
    (place / "logo.png").write_bytes(b"\x89PNG")
    return place


def bring(place: Path, policy: DataPolicy = DataPolicy()) -> tuple[dict[str, Any], dict[str, Document]]:
    out = place.parent / "corpus"
    report = import_documents(place, out, licence="CC-BY-4.0", origin="https://docs.example.org", policy=policy)
    return report, {document.id: document for document in load_corpus(out)}


def names(error: ValidationErrors) -> list[str]:
    return [Path(fault.partition(":")[0]).name for fault in error.faults]


def test_every_kind_comes_in_with_licence_and_source(place: Path) -> None:
    report, found = bring(place)
    assert report == {"documents": 3, "redacted": 0, "ignored": ["logo.png"], "dropped": []}
    assert found.keys() == {"guide-getting-started", "moles", "piers"}
    start, moles, piers = found["guide-getting-started"], found["moles"], found["piers"]
    assert (start.title, start.text) == ("Start", "Cast off the lines.")
    assert (start.licence, start.source) == ("CC-BY-4.0", "https://docs.example.org (Guide/Getting started.html)")
    assert (moles.title, moles.licence) == ("Moles", "MIT")  # it says its own
    assert (piers.title, piers.text) == ("piers", "A pier stands on piles.")
    (place.parent / "link.pdf").symlink_to(place / "piers.pdf")  # one that is named itself may lead anywhere
    (place.parent / "corpus").rename(place.parent / "first")
    assert bring(place.parent / "link.pdf")[1]["link"].source == "https://docs.example.org (link.pdf)"


def test_with_one_fault_nothing_is_written_and_all_faults_are_told(place: Path) -> None:
    (place / "broken.pdf").write_bytes(b"%PDF-1.7")
    (place / "latin.md").write_bytes(b"Fine.\nCaf\xe9.")
    (place / "head.md").write_text("---\ntitle: Fine\ntags: [\n---\nText.")
    (place / "Moles.htm").write_text("<p>Another text.</p>")  # the id of moles.md
    with pytest.raises(ValidationErrors) as raised:
        bring(place)
    places = [fault.removeprefix(f"{place}/").partition(": ")[0] for fault in raised.value.faults]
    assert places == ["broken.pdf:1", "head.md:4", "latin.md:2", "moles.md:1"]
    assert [path.name for path in place.parent.iterdir()] == ["site"]


def test_weakness_8_a_link_that_leads_out_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "passwd").write_text("root:x:0:0")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "passwd.html").symlink_to(tmp_path / "passwd")
    with pytest.raises(ValidationErrors, match=r"passwd\.html:1: is a link that leads out of the folder"):
        bring(tmp_path / "in")
    assert not (tmp_path / "corpus").exists()


def test_sizes_are_bounded(place: Path) -> None:
    (place / "long.md").write_text("a word " * 400)
    (place / "wide.pdf").write_bytes(pdf(*["a word " * 20] * 20))
    with pytest.raises(ValidationErrors) as raised:
        bring(place, DataPolicy(documents=DocumentPolicy(max_kib=1)))
    assert names(raised.value) == ["long.md", "wide.pdf"]


def test_what_the_contract_would_refuse_is_left_out_with_its_reason(place: Path) -> None:
    (place / "copy.md").write_text("Cast off, the LINES!")
    (place / "key.md").write_text(f"It is {AWS}.")
    (place / "contact.md").write_text(f"Write to {MAIL}.")
    report, found = bring(place)
    assert report["dropped"][0] == f"{place}/copy.md:1: the same text as Getting started.html"
    assert report["dropped"][1].startswith(f"{place}/key.md:1: secret")
    assert found.keys() == {"contact", "guide-getting-started", "moles", "piers"}
    assert (report["redacted"], found["contact"].text) == (1, "Write to [e-mail address].")
    (place.parent / "corpus").rename(place.parent / "first")
    report, found = bring(place, DataPolicy(privacy=PrivacyPolicy(email="refuse")))
    assert ("contact" in found, len(report["dropped"])) == (False, 3)


def test_nothing_to_bring_and_a_place_that_is_taken_are_told(place: Path) -> None:
    (place.parent / "empty").mkdir()
    with pytest.raises(ValidationErrors, match=r"no \.md, \.markdown, \.html, \.htm, \.pdf files"):
        bring(place.parent / "empty")
    (place.parent / "empty" / "key.md").write_text(f"It is {AWS}.")
    with pytest.raises(ValidationErrors, match="every file was left out"):
        bring(place.parent / "empty")
    (place.parent / "corpus").mkdir()
    (place.parent / "corpus" / "mine.md").touch()
    with pytest.raises(SluiceError, match="already exists"):
        bring(place)
