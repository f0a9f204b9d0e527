"""Imports Markdown, HTML and PDF files as documents of the corpus: `sluice data import`."""

from __future__ import annotations

import logging
import re
import shutil
import tempfile
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from sluice.core.errors import SluiceError, ValidationErrors
from sluice.core.settings import bounded_yaml
from sluice.data import privacy
from sluice.data.near_duplicates import words
from sluice.data.privacy import DataPolicy
from sluice.data.rows import FRONT_MATTER, Document, write_document
from sluice.data.scanning import ValidationIssue, read_text

# Elements that stand on every page of a site and belong to none.
_NOT_CONTENT = ("script", "style", "template", "noscript", "svg", "iframe", "form", "nav", "header", "footer", "aside")
_CONTENT = ("main", "article", "body")
_HEADING = re.compile(r"^#\s+(.+?)\s*#*$", re.MULTILINE)
ExtractedText = tuple[str, str, dict[str, Any]]  # title or "", text, front matter
_MOST_PDF_BYTES = 256 << 20  # pictures weigh, text does not


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """Give a folder to fill; it becomes `out` if the block succeeds, and is removed if it fails."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SluiceError(f"{out}: already exists", remedy="remove it, or choose another folder")
    out.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        yield fresh
        fresh.chmod(0o755)
        fresh.replace(out)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def import_documents(source: Path, out: Path, *, licence: str, origin: str, policy: DataPolicy) -> dict[str, Any]:
    """Write each document of a folder, or one file, to a new folder; return a report.

    With one unreadable file, nothing is written. Documents that break the data contract are left out and reported."""
    with whole_folder(out) as fresh:
        files = sorted(path for path in source.rglob("*") if path.is_file()) if source.is_dir() else [source]
        readable = [path for path in files if path.suffix.lower() in SUFFIXES]
        faults: list[ValidationIssue] = []
        documents: dict[Path, Document] = {}
        ids: dict[str, Path] = {}
        for path in readable:
            try:
                document = _read(path, source, licence, origin, policy)
                if (other := ids.setdefault(document.id, path)) != path:
                    raise ExtractError(f"its id would be {document.id!r}, as that of {other}")
                documents[path] = document
            except ExtractError as error:
                faults.append(ValidationIssue(path, error.line, error.what))
        if not readable:
            faults.append(ValidationIssue(source, 1, f"no {', '.join(SUFFIXES)} files"))
        if faults:
            lines = [str(fault) for fault in sorted(faults)]
            raise ValidationErrors(str(source), lines, remedy="fix them; nothing was written")
        kept, left_out = keep_documents(documents, policy)
        dropped = [str(fault) for fault in left_out]
        if not kept:
            raise ValidationErrors(f"{source}: every file was left out", dropped)
        for document in kept.values():
            write_document(fresh, document)
    return {
        "documents": len(kept),
        "redacted": sum(document != documents[path] for path, document in kept.items()),
        "ignored": [path.relative_to(source).as_posix() for path in files if path not in readable],
        "dropped": dropped,
    }


def _read(path: Path, source: Path, licence: str, origin: str, policy: DataPolicy) -> Document:
    root = source if source.is_dir() else source.parent
    if path != source and not path.resolve().is_relative_to(root.resolve()):
        raise ExtractError("is a link that leads out of the folder: put the file here")
    most = policy.documents.max_bytes
    if path.stat().st_size > (_MOST_PDF_BYTES if path.suffix.lower() == ".pdf" else most):
        raise ExtractError("is too large: split it")
    title, text, head = extract(path)
    if len(text.encode()) > most:
        raise ExtractError(f"its text is over {most >> 10:,} KiB: split it")
    relative = path.relative_to(root)
    head = {key: str(value).strip() for key, value in head.items() if value}
    # A file name that every system takes: `Guide/Getting started` is `guide-getting-started`.
    plain = unicodedata.normalize("NFKC", relative.with_suffix("").as_posix()).casefold()
    return Document(
        id=re.sub(r"[^\w.]+", "-", plain).strip("-.") or "document",
        title=title or path.stem.replace("_", " ").replace("-", " "),
        licence=head.get("licence") or head.get("license") or licence,
        source=head.get("source") or f"{origin} ({relative.as_posix()})",
        tenant=head.get("tenant"),
        text=text,
    )


def keep_documents(
    documents: dict[Path, Document], policy: DataPolicy
) -> tuple[dict[Path, Document], list[ValidationIssue]]:
    """Return the redacted documents that keep the contract, and the faults of the others."""
    kept: dict[Path, Document] = {}
    texts: dict[tuple[str, ...], Path] = {}
    dropped = []
    for path, document in documents.items():
        title, text = (privacy.redact(value, policy.privacy) for value in (document.title, document.text))
        found = next(privacy.findings(f"{title}\n{document.source}\n{text}", policy.privacy), None)
        if found or not text:
            dropped.append(ValidationIssue(path, 1, found[1] if found else "no text"))
        elif (first := texts.setdefault(tuple(words(text)), path)) != path:
            dropped.append(ValidationIssue(path, 1, f"the same text as {first.name}"))
        else:
            kept[path] = document.model_copy(update={"title": title, "text": text})
    return kept, dropped


class ExtractError(Exception):
    """A file cannot be read; the reason follows its name."""

    def __init__(self, what: str, line: int = 1) -> None:
        super().__init__(what)
        self.what = what
        self.line = line


def extract(path: Path) -> ExtractedText:
    """Return the text of a file; raise ExtractError if there is none."""
    try:
        title, text, head = _READERS[path.suffix.lower()](path)
    except RecursionError:
        raise ExtractError("is nested too deeply") from None
    text = re.sub(r"[ \t\xa0]+\n", "\n", text)
    text = re.sub(r"\n{3,}", "\n\n", text).strip()
    if not text:
        raise ExtractError("holds no text" + (": are its pages pictures?" if path.suffix.lower() == ".pdf" else ""))
    return " ".join(title.split()), text, head


def fault_of_stray(path: Path) -> str:
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
            line = mark.line + 2 if mark else 1  # marks count from 0, after the line `---`
            raise ExtractError(f"front matter is not valid YAML: {error}", line) from None
        if not isinstance(head, dict):
            raise ExtractError(f"front matter: expected keys and values, found {type(head).__name__}")
        text = text[match.end() :]
    heading = _HEADING.search(text)
    return str(head.get("title") or (heading[1] if heading else "")), text, head


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
    return title or (heading.get_text() if heading else ""), str(text), {}


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
    return title, "\n\n".join(pages), {}


_READERS: dict[str, Callable[[Path], ExtractedText]] = {
    ".md": _markdown,
    ".markdown": _markdown,
    ".html": _html,
    ".htm": _html,
    ".pdf": _pdf,
}
SUFFIXES = tuple(_READERS)
