"""Extracts the text of a Markdown, HTML or PDF file for `sluice data import`.

pypdf and markdownify are imported when such a file is read. A file that cannot be read completely is an error, never a
shorter text.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from sluice.core.settings import bounded_yaml
from sluice.data.rows import FRONT_MATTER
from sluice.data.scanning import read_text

# What stands on every page of a site and belongs to none.
_NOT_CONTENT = ("script", "style", "template", "noscript", "svg", "iframe", "form", "nav", "header", "footer", "aside")
_CONTENT = ("main", "article", "body")
_HEADING = re.compile(r"^#\s+(.+?)\s*#*$", re.MULTILINE)


class ExtractError(Exception):
    """Why a file cannot be read, in words that follow its name. `line` counts from 1."""

    def __init__(self, what: str, line: int = 1) -> None:
        super().__init__(what)
        self.line = line


@dataclass(frozen=True)
class ExtractedText:
    """`title`: empty where the file has none. `head`: the front matter of a Markdown file."""

    title: str
    text: str
    head: dict[str, Any] = field(default_factory=dict)


def extract(path: Path) -> ExtractedText:
    """The text of a file whose suffix is one of SUFFIXES. Raises ExtractError when it cannot be read or has none."""
    try:
        found = _READERS[path.suffix.lower()](path)
    except RecursionError:
        raise ExtractError("is nested too deeply") from None
    text = re.sub(r"[ \t\xa0]+\n", "\n", found.text)
    text = re.sub(r"\n{3,}", "\n\n", text).strip()
    if not text:
        raise ExtractError("holds no text" + (": are its pages pictures?" if path.suffix.lower() == ".pdf" else ""))
    return ExtractedText(" ".join(found.title.split()), text, found.head)


def fault_of_stray(path: Path) -> str:
    """What to say of a file of the corpus that is no document: why a PDF cannot be read, or how to bring it in."""
    try:
        if path.suffix.lower() == ".pdf":
            extract(path)
    except ExtractError as error:
        return str(error)
    return f"a {path.suffix or 'nameless kind of'} file is no document (.md); bring it in with `sluice data import`"


def _markdown(path: Path) -> ExtractedText:
    text, faults = read_text(path)
    if faults:
        raise ExtractError(faults[0].what, faults[0].line)
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    head: Any = {}
    if match := FRONT_MATTER.match(text):
        try:
            head = bounded_yaml(match[1])[0] or {}
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            what = f"front matter is not valid YAML: {getattr(error, 'problem', error)}"
            raise ExtractError(what, mark.line + 2 if mark else 1) from None
        if not isinstance(head, dict):
            raise ExtractError(f"front matter: expected keys and values, found {type(head).__name__}", 2)
        text = text[match.end() :]
    heading = _HEADING.search(text)
    return ExtractedText(str(head.get("title") or (heading[1] if heading else "")), text, head)


def _html(path: Path) -> ExtractedText:
    from bs4 import BeautifulSoup
    from markdownify import MarkdownConverter

    page = BeautifulSoup(path.read_bytes(), "lxml")
    if page.contains_replacement_characters:
        raise ExtractError(f"is not the {page.original_encoding} that it seems to be: declare its charset in a <meta>")
    title = page.title.get_text() if page.title else ""
    body = next((found for name in _CONTENT if (found := page.find(name))), page)
    for element in body.find_all(_NOT_CONTENT):
        element.decompose()
    heading = body.find("h1")
    text = MarkdownConverter(heading_style="ATX", bullets="-", strip=["a", "img"], escape_misc=False).convert_soup(body)
    return ExtractedText(title or (heading.get_text() if heading else ""), str(text))


def _pdf(path: Path) -> ExtractedText:
    from pypdf import PdfReader
    from pypdf.errors import FileNotDecryptedError

    logging.getLogger("pypdf").setLevel(logging.ERROR)  # it tells of every blemish that it gets over
    try:
        reader = PdfReader(path)
        pages = [page.extract_text() for page in reader.pages]
        title = str((reader.metadata and reader.metadata.title) or "")
    except FileNotDecryptedError:
        raise ExtractError("is an encrypted PDF: save it without a password") from None
    except Exception as error:  # a broken PDF raises whatever its bytes lead to
        raise ExtractError(f"broken PDF: {error or type(error).__name__}") from None
    return ExtractedText(title, "\n\n".join(pages))


_READERS: dict[str, Callable[[Path], ExtractedText]] = {
    ".md": _markdown,
    ".markdown": _markdown,
    ".html": _html,
    ".htm": _html,
    ".pdf": _pdf,
}
SUFFIXES = tuple(_READERS)
