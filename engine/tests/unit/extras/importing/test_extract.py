"""Text out of Markdown, HTML and PDF: what belongs to it, and why a file cannot be read."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from sluice.extras.importing.extract import ExtractedText, ExtractError, extract, fault_of_stray
from unit.extras.importing.pdfs import pdf

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
    assert found.title == "Piers & quays"
    assert found.text.startswith("# Piers\n\nA **pier** stands on piles.\n\n- oak\n- steel")
    assert "| oak | 50 |" in found.text
    for foreign in ("Home", "Our site", "Imprint", "alert", "color"):
        assert foreign not in found.text


def test_html_in_another_charset_is_read_as_it_says(tmp_path: Path) -> None:
    content = '<html><head><meta charset="iso-8859-1"></head><body><p>Caf\xe9</p></body></html>'.encode("latin-1")
    assert read(tmp_path, "a.htm", content).text == "Café"


def test_pdf_gives_the_text_of_its_pages(tmp_path: Path) -> None:
    assert read(tmp_path, "a.pdf", pdf("A pier stands on piles.", "Oak lasts 50 years.")).text == (
        "A pier stands on piles.\nOak lasts 50 years."
    )


@pytest.mark.parametrize(
    ("content", "title", "text"),
    [
        (
            b"\xef\xbb\xbf# Piers #\r\n\r\nOn piles.  \r\n\r\n\r\n\r\nOf oak.",
            "Piers",
            "# Piers #\n\nOn piles.\n\nOf oak.",
        ),
        (b"---\ntitle: Moles\nlicence: MIT\n---\n# Other\nText.", "Moles", "# Other\nText."),
        (b"No heading.", "", "No heading."),
    ],
)
def test_markdown_keeps_its_text_and_says_its_title(tmp_path: Path, content: bytes, title: str, text: str) -> None:
    found = read(tmp_path, "a.md", content)
    assert (found.title, found.text) == (title, text)


@pytest.mark.parametrize(
    ("name", "content", "line", "what"),
    [
        ("a.md", b"Fine.\nCaf\xe9.", 2, "not UTF-8 text"),
        ("a.md", b"---\ntitle: [\n---\nText.", 3, "front matter is not valid YAML"),
        ("a.md", b"---\n- a\n---\nText.", 2, "front matter: expected keys and values, found list"),
        ("a.md", b"  \n\n", 1, "holds no text"),
        ("a.html", b"<html><body><nav>Home</nav></body></html>", 1, "holds no text"),
        ("a.pdf", pdf(), 1, "holds no text: are its pages pictures?"),
        ("a.pdf", b"", 1, "broken PDF: "),
        ("a.pdf", b"hello", 1, "broken PDF: "),
        ("a.pdf", pdf("Half of it.")[:150], 1, "broken PDF: "),
    ],
)
def test_what_cannot_be_read_says_where_and_why(
    tmp_path: Path, name: str, content: bytes, line: int, what: str
) -> None:
    with pytest.raises(ExtractError) as raised:
        read(tmp_path, name, content)
    assert str(raised.value).startswith(what)
    assert raised.value.line == line


def test_an_encrypted_pdf_says_so(tmp_path: Path) -> None:
    from pypdf import PdfReader, PdfWriter

    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(pdf("Sealed."))))
    writer.encrypt("open sesame", algorithm="RC4-128")
    writer.write(tmp_path / "sealed.pdf")
    assert fault_of_stray(tmp_path / "sealed.pdf") == "is an encrypted PDF: save it without a password"
