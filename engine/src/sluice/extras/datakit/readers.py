"""Reads Markdown, reStructuredText, HTML, DOCX and PDF files as Markdown."""

from __future__ import annotations

import json
import logging
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from sluice.core.settings import bounded_yaml
from sluice.data.rows import FRONT_MATTER
from sluice.data.scanning import read_text
from sluice.retrieval.markdown_chunks import title_of

if TYPE_CHECKING:
    from bs4 import BeautifulSoup, Tag

# Elements that stand on every page of a site and belong to none.
_NOT_CONTENT = ("script", "style", "template", "noscript", "svg", "iframe", "form", "nav", "header", "footer", "img")
_REMARK = re.compile("admonition|callout|note|tip|warning", re.IGNORECASE)  # an <aside> of the text, not of the site
_CONTENT = ("main", "article", "body")
_LANGUAGE = re.compile(r"\b(?:language-|lang-|highlight-|source-|code )(?!literal-block)(\w+)")  # the last is docutils'
_TOML = re.compile(r"\+\+\+[ \t]*\n(.*?)^\+\+\+[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
Extracted = tuple[str, str, dict[str, Any]]  # title, text, front matter; readers give the title outside of the text


class ExtractError(Exception):
    """A file cannot be read; the reason follows its name."""

    def __init__(self, what: str, line: int = 1) -> None:
        super().__init__(what)
        self.what = what
        self.line = line


def extract(path: Path) -> Extracted:
    """Return the text of a file; raise ExtractError if there is none."""
    try:
        title, text, head = READERS[path.suffix.lower()](path)
    except RecursionError:
        raise ExtractError("is nested too deeply") from None
    except OSError as error:
        raise ExtractError(f"cannot be read: {error.strerror}: correct its permissions") from None
    if lost := re.search("[\0\ufffd]", text):
        line = text.count("\n", 0, lost.start()) + 1
        raise ExtractError(f"bad encoding: U+{ord(lost[0]):04X}: save it as UTF-8", line)
    text = re.sub("[\x01-\x08\x0b\x0c\x0e-\x1f\x7f]", " ", text)  # no editor writes them
    title = str(head.get("title") or title_of(text) or title)
    text = re.sub(r"[ \t\xa0]+\n", "\n", text)
    text = re.sub(r"\n{3,}", "\n\n", text).strip()
    if not text:
        remedy = (
            "if its pages are pictures, add their text by OCR, such as ocrmypdf"
            if path.suffix.lower() == ".pdf"
            else "remove it"
        )
        raise ExtractError(f"holds no text: {remedy}")
    return " ".join(title.split()), text, head


def _text_of(path: Path) -> str:
    text, faults = read_text(path)
    if faults:
        raise ExtractError(faults[0].what, faults[0].line)
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def _markdown(path: Path) -> Extracted:
    head, text = _front_matter(_text_of(path))
    return "", text, head


def _front_matter(text: str) -> tuple[dict[str, Any], str]:
    """Read the keys at the top of a page: YAML between `---`, TOML between `+++`, or a JSON object."""
    head: Any = {}
    page = text
    try:
        if match := FRONT_MATTER.match(text):
            head, text = bounded_yaml(match[1])[0] or {}, text[match.end() :]
        elif match := _TOML.match(text):
            head, text = tomllib.loads(match[1]), text[match.end() :]
        elif re.match(r"\{\s*\"", text):
            head, end = json.JSONDecoder().raw_decode(text)
            text = text[end:]
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 2 if mark else 1  # marks count from 0, after the line `---`
        what = getattr(error, "problem", error)
        raise ExtractError(f"front matter is not valid YAML: {what}: correct it", line) from None
    except tomllib.TOMLDecodeError as error:
        raise ExtractError(f"front matter is not valid TOML: {error}: correct it") from None
    except ValueError:
        return {}, page  # one that begins with a brace
    return (head, text) if isinstance(head, dict) else ({}, page)  # text between two rules is none


def _html(path: Path) -> Extracted:
    from bs4 import BeautifulSoup

    page = BeautifulSoup(path.read_bytes(), "lxml")
    if page.contains_replacement_characters:
        raise ExtractError(f"is not the {page.original_encoding} that it seems to be: declare its charset in a <meta>")
    return page.title.get_text() if page.title else "", _as_markdown(page), {}


def _rst(path: Path) -> Extracted:
    from bs4 import BeautifulSoup
    from docutils.core import publish_string

    # Directives of Sphinx are unknown here, and no file of this machine is included.
    quiet = {"report_level": 5, "halt_level": 5, "file_insertion_enabled": False, "raw_enabled": False}
    page = publish_string(_text_of(path), writer="html5", settings_overrides={**quiet, "output_encoding": "unicode"})
    return "", _as_markdown(BeautifulSoup(page, "lxml")), {}


def _docx(path: Path) -> Extracted:
    import mammoth
    from bs4 import BeautifulSoup

    try:
        with path.open("rb") as file:
            page = mammoth.convert_to_html(file, convert_image=mammoth.images.img_element(lambda _: {})).value
    except Exception as error:  # a broken archive raises whatever its bytes lead to
        raise ExtractError(f"broken DOCX: {error or type(error).__name__}") from None
    return "", _as_markdown(BeautifulSoup(page, "lxml")), {}


def _as_markdown(page: BeautifulSoup) -> str:
    from markdownify import MarkdownConverter

    body = next((found for name in _CONTENT if (found := page.find(name))), page)
    for element in body.find_all([*_NOT_CONTENT, "aside"]):
        if element.name != "aside" or not _REMARK.search(" ".join(element.get("class") or ())):
            element.decompose()
    for link in body.find_all("a"):
        if not str(link.get("href", "")).startswith(("http://", "https://")):
            if link.get_text().strip() in ("¶", "#", ""):  # the mark beside a heading that leads to it
                link.decompose()
            else:
                link.unwrap()
    for table in body.find_all("table"):
        _list_terms(table)
    converter = MarkdownConverter(heading_style="ATX", bullets="-", escape_misc=False, code_language_callback=_language)
    return str(converter.convert_soup(body))


def _list_terms(table: Tag) -> None:
    """Make a list of a table whose rows are a name (`th`) and what it is (`td`): such a table has no head."""
    rows = [row.find_all(["th", "td"]) for row in table.find_all("tr")]
    if table.find("table") or any([cell.name for cell in cells] != ["th", "td"] for cells in rows):
        return
    for name, meaning in rows:
        for gap in name.parent.find_all(string=str.isspace, recursive=False):
            gap.extract()
        name.insert_after(": ")
        name.name, meaning.name, meaning.parent.name = "strong", "span", "li"
    for part in table.find_all(["tbody", "thead", "colgroup"]):
        part.unwrap()
    table.name = "ul"


def _language(block: Tag) -> str:
    """Return the language of a code block by a class of it, of its <code>, or of the blocks around it."""
    around = [*block.find_all("code", limit=1), block, *list(block.parents)[:2]]
    classes = " ".join(name for one in around for name in one.get("class") or ())
    return found[1] if (found := _LANGUAGE.search(classes)) else ""


def _pdf(path: Path) -> Extracted:
    from pdfminer.pdfdocument import PDFPasswordIncorrect

    from sluice.extras.datakit.pdf_reader import read_pdf

    logging.getLogger("pdfminer").setLevel(logging.ERROR)  # it tells of every blemish that it gets over
    try:
        title, text = read_pdf(path)
    except Exception as error:  # a broken PDF raises whatever its bytes lead to
        if error.args and isinstance(error.args[0], PDFPasswordIncorrect):
            raise ExtractError("is an encrypted PDF: save it without a password") from None
        raise ExtractError(f"broken PDF: {error or type(error).__name__}") from None
    return "", text, {"title": title}


READERS: dict[str, Callable[[Path], Extracted]] = {
    ".md": _markdown,
    ".markdown": _markdown,
    ".rst": _rst,
    ".html": _html,
    ".htm": _html,
    ".docx": _docx,
    ".pdf": _pdf,
}
SUFFIXES = tuple(READERS)
