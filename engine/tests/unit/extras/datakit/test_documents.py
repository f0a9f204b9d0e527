import io
import zipfile
from pathlib import Path
from typing import Any

import pytest

from sluice.core.errors import SluiceError
from sluice.data.privacy import DataPolicy, DocumentPolicy, PrivacyPolicy
from sluice.data.rows import Document, load_corpus
from sluice.extras.datakit.documents import ImportReport, import_documents
from sluice.extras.datakit.readers import Extracted, ExtractError, extract
from sluice.extras.datakit.sources import opened
from support.git import commit_all, git
from support.local_server import served_folder
from unit.extras.datakit.conftest import pdf

AWS = "AKIA" + "QWERTYUIOPASDFGH"
MAIL = "first.last@" + "company.org"
DEEP = 20_000
SEALED = b"/Encrypt << /Filter /Standard /V 1 /R 2 /P -4 /O (%s) /U (%s) >> /ID [(a) (a)]" % (b"o" * 32, b"u" * 32)
BOMB = "a: &a [x, x]\n" + "".join(f"{c}: &{c} [{f'*{b}, ' * 99}*{b}]\n" for b, c in ("ab", "bc", "cd"))
PAGE = """<!doctype html><html><head><title>Piers &amp; quays</title><style>p { color: red }</style></head><body>
<nav><a href="/">Home</a></nav><header>Our site</header>
<main><h1>Piers<a href="#piers">¶</a></h1><p>A <b>pier</b> stands on <a href="/piles">piles</a>, as
<a href="https://example.org/oak">oak</a> does.</p>
<aside class="admonition">Mind the gap.</aside><aside>More pages</aside>
<div class="highlight-sh"><pre># comment
make pier</pre></div>
<ul><li>oak</li><li>steel</li></ul><table><tr><th>kind</th><th>years</th></tr><tr><td>oak</td><td>50</td></tr></table>
<table><tr><th>length</th> <td>of a <b>pier</b></td></tr> <tr><th>width</th><td>of it</td></tr></table>
<script>alert(1)</script></main><footer>Imprint</footer></body></html>"""


RST = b"""Moles
=====

A *wall*.

.. code-block:: python

   # no heading
   build()

.. toctree::
   other

* oak

  * old
"""


def docx(heading: str, text: str) -> bytes:
    """Return a document of Word: the two parts that its readers need, by ECMA-376 part 1, sections 11.3.10 and 17.3."""
    ooxml = "http://schemas.openxmlformats.org"
    word = f'xmlns:w="{ooxml}/wordprocessingml/2006/main"'
    style = '<w:pPr><w:pStyle w:val="Heading1"/></w:pPr>'
    body = f"<w:p>{style}<w:r><w:t>{heading}</w:t></w:r></w:p><w:p><w:r><w:t>{text}</w:t></w:r></w:p>"
    kind = f"{ooxml}/officeDocument/2006/relationships/officeDocument"
    relation = f'<Relationship Id="r1" Type="{kind}" Target="word/document.xml"/>'
    name = '<w:style w:type="paragraph" w:styleId="Heading1"><w:name w:val="heading 1"/></w:style>'
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{ooxml}/package/2006/content-types"/>',
        "_rels/.rels": f'<Relationships xmlns="{ooxml}/package/2006/relationships">{relation}</Relationships>',
        "word/document.xml": f"<w:document {word}><w:body>{body}</w:body></w:document>",
        "word/styles.xml": f"<w:styles {word}>{name}</w:styles>",
    }
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return packed.getvalue()


def read(tmp_path: Path, name: str, content: bytes) -> Extracted:
    path = tmp_path / name
    path.write_bytes(content)
    return extract(path)


def test_html_gives_its_content_as_markdown_and_nothing_of_the_site(tmp_path: Path) -> None:
    found = read(tmp_path, "a.html", PAGE.encode())
    assert found[0] == "Piers"
    assert found[1].startswith("# Piers\n\nA **pier** stands on piles, as")
    for part in (
        "[oak](https://example.org/oak)",
        "Mind the gap.",
        "```sh\n# comment\nmake pier\n```",
        "- oak\n- steel",
    ):
        assert part in found[1], part
    assert "| oak | 50 |" in found[1]
    assert "- **length**: of a **pier**\n- **width**: of it" in found[1]
    foreign = ("Home", "Our site", "Imprint", "alert", "color", "More pages", "¶")
    assert not [each for each in foreign if each in found[1]]


@pytest.mark.parametrize(
    ("name", "content", "title", "text"),
    [
        ("a.htm", b'<html><head><meta charset="iso-8859-1"></head><body><p>Caf\xe9</p></body></html>', "", "Café"),
        ("a.pdf", pdf("On piles.", "Oak lasts 50 years."), "", "On piles.\n\nOak lasts 50 years."),
        ("a.md", b"\xef\xbb\xbf# Piers #\r\n\r\nPiles.  \r\n\r\n\r\n\r\nOak.", "Piers", "# Piers #\n\nPiles.\n\nOak."),
        ("a.md", b"---\ntitle: Moles\nlicence: MIT\n---\n# Other\nText.", "Moles", "# Other\nText."),
        ("a.md", b'+++\ntitle = "Moles"\n+++\nText.', "Moles", "Text."),
        ("a.md", b'{\n  "title": "Moles"\n}\n\nText.', "Moles", "Text."),
        ("a.md", b"```\n# Not this\n```\n\n# This\n", "This", "```\n# Not this\n```\n\n# This"),
        ("a.html", b"<title>Quay</title><p>Text.</p>", "Quay", "Text."),
        ("a.rst", RST, "Moles", "# Moles\n\nA *wall*.\n\n```python\n# no heading\nbuild()\n```\n\n- oak\n\n  - old"),
        ("a.docx", docx("Moles", "A wall."), "Moles", "# Moles\n\nA wall."),
    ],
)
def test_each_kind_gives_title_and_text(tmp_path: Path, name: str, content: bytes, title: str, text: str) -> None:
    assert read(tmp_path, name, content)[:2] == (title, text)


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.md", b"Fine.\nCaf\xe9.", "not UTF-8"),
        ("a.md", b"---\ntitle: [\n---\nText.", "YAML"),
        ("a.pdf", pdf(), "no text: if its pages are pictures, .* OCR"),
        ("a.pdf", pdf("Sealed.", trailer=SEALED), "encrypted PDF: save it without a password"),
        ("deep.html", b"<div>" * DEEP + b"x" + b"</div>" * DEEP, "nested too deeply"),
        ("bomb.md", f"---\n{BOMB}---\nText.".encode(), "more than 100000 keys"),
        ("a.pdf", pdf("Half of it.")[:150], "broken PDF"),
        ("a.docx", b"PK", "broken DOCX"),
        ("a.md", b"+++\ntitle =\n+++\nText.", "TOML"),
        ("a.md", b" \n", "no text"),
    ],
)
def test_weakness_8_what_cannot_be_read(tmp_path: Path, name: str, content: bytes, why: str) -> None:
    with pytest.raises(ExtractError, match=why):
        read(tmp_path, name, content)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    place = tmp_path / "site"
    (place / "Guide").mkdir(parents=True)
    (place / "Guide" / "Getting started.html").write_text("<title>Start</title><p>Cast off the lines.</p>")
    (place / "moles.md").write_text("---\nlicense: MIT\ntags: [sea]\n---\n# Moles\n\nA mole is a wall in the sea.\n")
    (place / "piers.pdf").write_bytes(pdf("A pier stands on piles."))
    (place / "logo.png").write_bytes(b"\x89PNG")
    return place


def bring(place: Path, policy: DataPolicy = DataPolicy(), **more: Any) -> tuple[ImportReport, dict[str, Document]]:
    out = place.parent / "corpus"
    terms = {"licence": "CC-BY-4.0", "origin": "https://docs.example.org/"}
    report = import_documents(place, out, policy=policy, **terms, **more)
    return report, {document.id: document for document in load_corpus(out)}


def names(report: ImportReport) -> list[str]:
    return [Path(line.partition(":")[0]).name for line in report.left_out]


def test_every_kind_comes_in_with_licence_and_source(place: Path) -> None:
    report, found = bring(place)
    assert report == ImportReport(3, ignored=["logo.png"])
    assert found.keys() == {"guide-getting-started", "moles", "piers"}
    start, moles, piers = found["guide-getting-started"], found["moles"], found["piers"]
    assert (start.title, start.text) == ("Start", "Cast off the lines.")
    assert (start.licence, start.source) == ("CC-BY-4.0", "https://docs.example.org/Guide/Getting%20started.html")
    assert (moles.title, moles.licence) == ("Moles", "MIT")  # it says its own
    assert (piers.title, piers.text) == ("piers", "A pier stands on piles.")
    (place.parent / "link.pdf").symlink_to(place / "piers.pdf")  # one that is named itself may lead anywhere
    (place.parent / "corpus").rename(place.parent / "first")
    assert bring(place.parent / "link.pdf")[1]["link"].source == "https://docs.example.org/link.pdf"


def test_what_cannot_be_read_is_named_with_its_line_and_the_rest_comes_in(place: Path) -> None:
    (place / "broken.pdf").write_bytes(b"%PDF-1.7")
    (place / "latin.md").write_bytes(b"Fine.\nCaf\xe9.")
    (place / "head.md").write_text("---\ntitle: Fine\ntags: [\n---\nText.")
    (place / "Moles.htm").write_text("<p>Another text.</p>")  # the id of moles.md
    (place / "passwd.html").symlink_to("/etc/passwd")
    report, found = bring(place)
    places = [line.removeprefix(f"{place}/").partition(": ")[0] for line in report.left_out]
    assert places == ["broken.pdf:1", "head.md:4", "latin.md:2", "moles.md:1", "passwd.html:1"]
    assert "a link that leads out of the folder" in report.left_out[-1]
    assert found.keys() == {"guide-getting-started", "moles", "piers"}
    assert found["moles"].text == "Another text."


def test_sizes_are_bounded(place: Path) -> None:
    (place / "long.md").write_text("a word " * 400)
    (place / "wide.pdf").write_bytes(pdf(*["a word " * 20] * 20))
    report, _ = bring(place, DataPolicy(documents=DocumentPolicy(max_kib=1)))
    assert names(report) == ["long.md", "wide.pdf"]
    assert all("raise documents.max_kib" in line for line in report.left_out)


def test_what_the_contract_would_refuse_is_left_out_with_its_reason(place: Path) -> None:
    (place / "copy.md").write_text("Cast off, the LINES!")
    (place / "key.md").write_text(f"---\ntitle: Key\n---\nFirst.\n\n\n\nIt is {AWS}.")
    (place / "contact.md").write_text(f"# Contact\n\nWrite to {MAIL}.")
    report, found = bring(place)
    assert report.left_out[0] == f"{place}/copy.md:1: the same text as {place}/Guide/Getting started.html: remove one"
    assert report.left_out[1].startswith(
        f'{place}/key.md:8: secret: AWS Access Key "{AWS}" in `It is {AWS}.`; if it is'
    )
    assert found.keys() == {"contact", "guide-getting-started", "moles", "piers"}
    assert found["contact"].text.endswith("Write to [e-mail address].")
    (redacted,) = report.redacted
    assert redacted.startswith(f'{place}/contact.md:3: personal data: e-mail address "{MAIL}" in `Write to {MAIL}.`')
    report, found = bring(place, DataPolicy(privacy=PrivacyPolicy(email="refuse")), replace=True)
    assert ("contact" in found, len(report.left_out)) == (False, 3)


def test_examples_that_a_person_allows_stay_and_links_name_their_hosts(place: Path) -> None:
    proxy, etag = "http://username:password" + "@localhost:8030", '"3147526947+ident"'
    (place / "proxy.md").write_text(f"Set {proxy}, see https://docs.example.net/a and [b](https://b.example.net).")
    (place / "etag.md").write_text(f"The etag is {etag}, or 3147526947.")
    report, _ = bring(place)
    assert names(report) == ["proxy.md"]
    assert "Basic Auth" in report.left_out[0]
    (phone, _other) = report.redacted
    assert 'telephone number "3147526947" in `The etag is "3147526947+ident", or' in phone
    policy = DataPolicy(privacy=PrivacyPolicy(allow=("://username:password@", "3147526947+ident")))
    report, found = bring(place, policy, replace=True)
    assert report.left_out == []
    assert proxy in found["proxy"].text
    assert found["etag"].text == f"The etag is {etag}, or [telephone number]."
    assert report.hosts == ["b.example.net", "docs.example.net", "localhost"]


def test_nothing_to_bring_and_a_place_that_is_taken_are_told(place: Path) -> None:
    (place.parent / "empty").mkdir()
    with pytest.raises(SluiceError, match=r"no \.md, .*\.pdf files"):
        bring(place.parent / "empty")
    (place.parent / "empty" / "key.md").write_text(f"It is {AWS}.")
    with pytest.raises(SluiceError, match=r"every file was left out, so nothing was written\n.*key\.md:1: secret"):
        bring(place.parent / "empty")
    (place.parent / "corpus").mkdir()
    (place.parent / "corpus" / "mine.md").touch()
    with pytest.raises(SluiceError, match="already exists"):
        bring(place)
    (place.parent / "corpus" / "guard").mkdir()
    with pytest.raises(SluiceError, match=r"guard: .*corpus holds more than documents"):
        bring(place, replace=True)
    (place.parent / "corpus" / "guard").rmdir()
    assert bring(place, replace=True)[0].documents == 3
    assert not (place.parent / "corpus" / "mine.md").exists()


@pytest.mark.usefixtures("loopback")
def test_archives_repositories_and_sitemaps(place: Path, tmp_path: Path) -> None:
    archive = tmp_path / "export.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.write(place / "moles.md", "Export/moles.md")
    with opened(str(archive), "Export") as (path, _):
        assert [one.name for one in path.iterdir()] == ["moles.md"]
    git(place, "init", "--quiet")
    commit_all(place, "Docs")
    place.rename(tmp_path / "docs.git")
    with opened(str(tmp_path / "docs.git")) as (path, _):
        terms = {"licence": "CC0-1.0", "origin": "tests", "policy": DataPolicy()}
        assert import_documents(path, tmp_path / "cloned", **terms) == ImportReport(3, ignored=["logo.png"])
    for source, folder in ((str(tmp_path / "gone.git"), ""), (str(archive), "../.."), (str(tmp_path / "gone"), "")):
        with pytest.raises(SluiceError), opened(source, folder):
            pass
    with served_folder(tmp_path / "docs.git") as site:
        pages = f"{site}Guide/Getting%20started.html"
        (tmp_path / "map.xml").write_text(
            f"<urlset><url><loc>{pages}</loc></url><url><loc>{site}logo.png</loc></url></urlset>"
        )
        with opened(str(tmp_path / "map.xml")) as (path, addresses):
            terms = {"licence": "CC0-1.0", "origin": site, "policy": DataPolicy(), "addresses_of": addresses}
            assert import_documents(path, tmp_path / "out", **terms).documents == 1
        (start,) = load_corpus(tmp_path / "out")
        assert (start.title, start.source) == ("Start", pages)
        (tmp_path / "map.xml").write_text(f"<urlset><url><loc>{site}gone</loc></url></urlset>")
        with pytest.raises(SluiceError, match="404"), opened(str(tmp_path / "map.xml")):
            pass
