"""Imports files as documents of the corpus: `sluice data import`. What is left out is named, with a remedy."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from sluice.core.errors import SluiceError
from sluice.data import privacy
from sluice.data.near_duplicates import words
from sluice.data.privacy import DataPolicy, PersonalDataMatch
from sluice.data.rows import Document, write_document
from sluice.data.scanning import ValidationIssue
from sluice.extras.datakit.readers import SUFFIXES, ExtractError, extract
from sluice.guardrails.checks.markup import addresses

_MOST_PDF_BYTES = 256 << 20  # pictures weigh, text does not
_MOST_ID_BYTES = 200  # it becomes a file's name
_AROUND = 40  # characters on each side of what was found
_ALLOW = "if it is only an example, add it to `privacy: {allow: […]}` in config/data.yaml"


@dataclass
class ImportReport:
    """`redacted`, `left_out`: a line each, with file, line and remedy; `ignored`: files of other kinds; `hosts`: those
    that links of the documents lead to."""

    documents: int = 0
    redacted: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    hosts: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@contextmanager
def whole_folder(out: Path, *, replace: bool = False) -> Iterator[Path]:
    """Give a folder to fill; it becomes `out` if the block succeeds, and is removed if it fails."""
    taken = out.exists() and (not out.is_dir() or any(out.iterdir()))
    if taken and not (replace and out.is_dir()):
        raise SluiceError(f"{out}: already exists", remedy="add --replace, remove it, or choose another folder")
    if other := [path for path in out.glob("*") if path.suffix != ".md"] if taken else []:
        raise SluiceError(
            f"{other[0]}: {out} holds more than documents", remedy="move it away, or choose another folder"
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    old = fresh.with_name(f"{fresh.name}.old")
    try:
        yield fresh
        fresh.chmod(0o755)
        if taken:
            out.replace(old)
        try:
            fresh.replace(out)
        except OSError:
            if taken:
                old.replace(out)
            raise
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def import_documents(
    source: Path,
    out: Path,
    *,
    licence: str,
    origin: str,
    policy: DataPolicy,
    replace: bool = False,
    addresses_of: Mapping[Path, str] | None = None,
) -> ImportReport:
    """Write each document of a folder, or one file, to a new folder. What can't be read, and what breaks the data
    contract, is left out and reported; if that is everything, nothing is written. `addresses_of`: of files."""
    files = [source]
    if source.is_dir():
        hidden = set(source.rglob(".*"))  # such as .git
        # The files of a folder are listed too, but for those of a link to one, or of one that is locked.
        named = (
            path for path in source.rglob("*") if path.is_symlink() or not (path.is_dir() and os.access(path, os.R_OK))
        )
        files = sorted(path for path in named if hidden.isdisjoint((path, *path.parents)))
    readable = [path for path in files if path.suffix.lower() in SUFFIXES or path.is_dir()]
    if not readable:
        raise SluiceError(f"{source}: no {', '.join(SUFFIXES)} files")
    report = ImportReport(ignored=[path.relative_to(source).as_posix() for path in files if path not in readable])
    documents: dict[Path, Document] = {}
    ids: dict[str, Path] = {}
    for path in readable:
        try:
            document = _read(path, source, licence, origin, policy)
            if addresses_of and path in addresses_of:
                document = document.model_copy(update={"source": addresses_of[path]})
            if (other := ids.setdefault(document.id, path)) != path:
                raise ExtractError(f"its id would be {document.id!r}, as that of {other}: rename one")
            documents[path] = document
        except ExtractError as error:
            report.left_out.append(str(ValidationIssue(path, error.line, error.what)))
    kept, faults, report.redacted = keep_documents(documents, policy)
    report.left_out += map(str, faults)
    if not kept:
        lines = "".join(f"\n  {line}" for line in report.left_out)
        raise SluiceError(f"{source}: every file was left out, so nothing was written{lines}")
    with whole_folder(out, replace=replace) as fresh:
        for document in kept.values():
            write_document(fresh, document)
    report.documents = len(kept)
    links = {address for document in kept.values() for _, address in addresses(document.text)}
    report.hosts = sorted({host for link in links if (host := _host(link))})
    return report


def _host(address: str) -> str:
    try:
        return urlsplit(address if "://" in address else f"https://{address.removeprefix('//')}").hostname or ""
    except ValueError:
        return ""


def _read(path: Path, source: Path, licence: str, origin: str, policy: DataPolicy) -> Document:
    root = source if source.is_dir() else source.parent
    if path != source and not path.resolve().is_relative_to(root.resolve()):
        raise ExtractError("is a link that leads out of the folder: put the file here")
    if not path.is_file():
        raise ExtractError("is a broken link, a link to a folder, or a locked folder: put its files here")
    most = policy.documents.max_bytes
    split = "split it, or raise documents.max_kib in config/data.yaml"
    if path.stat().st_size > (_MOST_PDF_BYTES if path.suffix.lower() == ".pdf" else most):
        raise ExtractError(f"is over {most >> 10:,} KiB: {split}")
    title, text, head = extract(path)
    if len(text.encode()) > most:
        raise ExtractError(f"its text is over {most >> 10:,} KiB: {split}")
    relative = path.relative_to(root)
    head = {key: str(value).strip() for key, value in head.items() if value}
    # A file name that every system takes: `Guide/Getting started` is `guide-getting-started`.
    plain = unicodedata.normalize("NFKC", relative.with_suffix("").as_posix()).casefold()
    name = re.sub(r"[^\w.]+", "-", plain).strip("-.") or "document"
    if len(name.encode()) > _MOST_ID_BYTES:
        raise ExtractError(f"its id is over {_MOST_ID_BYTES} bytes: shorten its name, or those of its folders")
    return Document(
        id=name,
        title=title or path.stem.replace("_", " ").replace("-", " "),
        licence=head.get("licence") or head.get("license") or licence,
        source=head.get("source") or _address(origin, relative),
        tenant=head.get("tenant"),
        text=text,
    )


def _address(origin: str, relative: Path) -> str:
    """Return the address of a page, which citations open, or where it comes from in words."""
    if not origin.startswith(("http://", "https://")):
        return f"{origin} ({relative.as_posix()})"
    return f"{origin.rstrip('/')}/{quote(relative.as_posix())}"


def keep_documents(
    documents: Mapping[Path, Document], policy: DataPolicy
) -> tuple[dict[Path, Document], list[ValidationIssue], list[str]]:
    """Return the redacted documents that keep the contract, the faults of the others, and what was redacted."""
    kept: dict[Path, Document] = {}
    texts: dict[tuple[str, ...], Path] = {}
    dropped = []
    redacted: list[str] = []
    for path, document in documents.items():
        values = (document.title, document.source, document.text)
        found = {value: privacy.scan(value, policy.privacy) for value in values}
        written = path.read_text(encoding="utf-8", errors="replace") if any(found.values()) and path.is_file() else ""
        title, text = (privacy.redact(value, policy.privacy, found[value]) for value in (document.title, document.text))
        refused = (
            _issue(path, written, value, one)
            for value, matches in found.items()
            for one in matches
            if value == document.source or policy.privacy.action(one.kind) == "refuse"
        )
        if issue := next(refused, None):
            dropped.append(issue)
        elif not text:
            dropped.append(ValidationIssue(path, 1, "no text"))
        elif (first := texts.setdefault(tuple(words(text)), path)) != path:
            dropped.append(ValidationIssue(path, 1, f"the same text as {first}: remove one"))
        else:
            kept[path] = document.model_copy(update={"title": title, "text": text})
            redacted += (str(_issue(path, written, document.text, one)) for one in found[document.text])
    return kept, dropped, redacted


def _issue(path: Path, written: str, text: str, found: PersonalDataMatch) -> ValidationIssue:
    """Describe what was found in a text, and the text around it. The line is that of the file as it is `written`, or 1
    where its text isn't that of the document, as in a PDF."""
    value = text[found.start : found.end]
    begin = max(text.rfind("\n", 0, found.start) + 1, found.start - _AROUND)
    end = min((text + "\n").index("\n", found.end), found.end + _AROUND)
    rule = "secret" if found.kind == "secret" else "personal data"
    what = f"{rule}: {found.name} {json.dumps(value)} in `{text[begin:end].strip()}`; {_ALLOW}"
    return ValidationIssue(path, written.count("\n", 0, max(written.find(value), 0)) + 1, what)
