"""Imports a folder of Markdown, HTML and PDF files as documents of the corpus.

An unreadable file is a fault, and with one fault nothing is written. A readable file that would break the data contract
is left out and reported with the reason. Runs as `sluice data import`.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from sluice.core.errors import SluiceError, ValidationErrors
from sluice.data import privacy
from sluice.data.data_policy import DataPolicy
from sluice.data.near_duplicates import words
from sluice.data.rows import Document, write_document
from sluice.data.scanning import ValidationIssue
from sluice.extras.importing.extract import SUFFIXES, ExtractedText, ExtractError, extract
from sluice.extras.importing.whole_folder import whole_folder

_MOST_PDF_BYTES = 256 << 20


@dataclass(frozen=True)
class FolderImport:
    """`redacted`: documents in which personal data was replaced; `ignored`: files of other kinds; `dropped`: readable
    files that were left out, with the reason."""

    documents: int
    words: int
    redacted: int
    ignored: tuple[str, ...]
    dropped: tuple[ValidationIssue, ...]


def import_folder(place: Path, out: Path, *, licence: str, source: str, policy: DataPolicy) -> FolderImport:
    """Writes each document of `place`, a folder or one file, to `out`, a folder that must not exist.

    `licence` and `source` stand in the front matter of every document, with the file's path behind the source; a
    Markdown file that says its own keeps it. Raises ValidationErrors with every file that cannot be read, and when
    nothing is left.
    """
    if out.exists():
        raise SluiceError(f"{out}: already exists", remedy="remove it, or choose another folder")
    files = sorted(path for path in place.rglob("*") if path.is_file()) if place.is_dir() else [place]
    root = place if place.is_dir() else place.parent
    readable = [path for path in files if path.suffix.lower() in SUFFIXES]
    inside = root.resolve()
    strays = [path for path in readable if place.is_dir() and not path.resolve().is_relative_to(inside)]
    documents, faults = _read([path for path in readable if path not in strays], root, licence, source, policy)
    faults += [ValidationIssue(path, 1, "is a link that leads out of the folder: put the file here") for path in strays]
    if not readable:
        faults.append(ValidationIssue(place, 1, f"no {', '.join(SUFFIXES)} files"))
    if faults:
        raise ValidationErrors(
            str(place), [str(fault) for fault in sorted(faults)], remedy="fix them; nothing was written"
        )
    kept, redacted, dropped = _keep(documents, policy)
    if not kept:
        raise ValidationErrors(f"{place}: every file was left out", [str(fault) for fault in dropped])
    with whole_folder(out) as fresh:
        for document in kept:
            write_document(fresh, document)
    return FolderImport(
        documents=len(kept),
        words=sum(len(document.text.split()) for document in kept),
        redacted=redacted,
        ignored=tuple(path.relative_to(root).as_posix() for path in files if path not in readable),
        dropped=tuple(dropped),
    )


def _read(
    paths: list[Path], root: Path, licence: str, source: str, policy: DataPolicy
) -> tuple[list[tuple[Path, Document]], list[ValidationIssue]]:
    documents: list[tuple[Path, Document]] = []
    faults: list[ValidationIssue] = []
    named: dict[str, Path] = {}
    for path in paths:
        # Pictures weigh, text does not.
        most = _MOST_PDF_BYTES if path.suffix.lower() == ".pdf" else policy.documents.max_bytes
        if path.stat().st_size > most:
            faults.append(ValidationIssue(path, 1, f"over {most >> 10:,} KiB: split it"))
            continue
        try:
            document = _document(path, path.relative_to(root), extract(path), licence, source)
        except ExtractError as error:
            faults.append(ValidationIssue(path, error.line, str(error)))
            continue
        if len(document.text.encode()) > policy.documents.max_bytes:
            faults.append(ValidationIssue(path, 1, f"its text is over {policy.documents.max_kib:,} KiB: split it"))
        if (other := named.setdefault(document.id, path)) != path:
            faults.append(ValidationIssue(path, 1, f"its id would be {document.id!r}, as that of {other}"))
        documents.append((path, document))
    return documents, faults


def _document(path: Path, relative: Path, found: ExtractedText, licence: str, source: str) -> Document:
    def said(key: str, otherwise: str) -> str:
        return str(found.head.get(key) or otherwise).strip()

    return Document(
        id=_slug(relative.with_suffix("").as_posix()),
        title=found.title or path.stem.replace("_", " ").replace("-", " "),
        licence=said("licence", said("license", licence)),
        source=said("source", f"{source} ({relative.as_posix()})"),
        tenant=said("tenant", "") or None,
        text=found.text,
    )


def _slug(path: str) -> str:
    """A file name that every system takes: `Guide/Getting started` is `guide-getting-started`."""
    plain = unicodedata.normalize("NFKC", path).casefold()
    return re.sub(r"[^\w.]+", "-", plain).strip("-.") or "document"


def _keep(
    documents: list[tuple[Path, Document]], policy: DataPolicy
) -> tuple[list[Document], int, list[ValidationIssue]]:
    """Documents that keep the contract, how many of them were redacted, and why the others do not keep it."""
    kept: dict[tuple[str, ...], tuple[Path, Document]] = {}
    redacted = 0
    dropped: list[ValidationIssue] = []
    for path, document in documents:
        title, text = (privacy.redact(value, policy.privacy) for value in (document.title, document.text))
        found = next(privacy.findings(f"{title}\n{document.source}\n{text}", policy.privacy), None)
        key = tuple(words(text))
        if found or key in kept:
            dropped.append(ValidationIssue(path, 1, found[1] if found else f"the same text as {kept[key][0].name}"))
            continue
        redacted += (title, text) != (document.title, document.text)
        kept[key] = path, document.model_copy(update={"title": title, "text": text})
    return [document for _, document in kept.values()], redacted, dropped
