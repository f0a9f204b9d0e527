"""Checks the files of a corpus: type, size and encoding."""

from __future__ import annotations

import re
from pathlib import Path

from sluice.core.extras import hooks
from sluice.data.data_policy import DocumentPolicy
from sluice.data.rows import Document
from sluice.data.scanning import LocatedRecord, ValidationIssue

# U+FFFD stands where a decoder met bytes it did not know; the others are written by no editor.
_LOST = re.compile("[\ufffd\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def check_files(corpus: Path, policy: DocumentPolicy) -> list[ValidationIssue]:
    """Files that are no documents, and documents that are too large."""
    faults = []
    for path in sorted(corpus.rglob("*")):
        if not path.is_file():
            continue
        if corpus.resolve() not in path.resolve().parents:
            faults.append(ValidationIssue(path, 1, "is a link that leads out of the folder: put the file itself here"))
        elif path.suffix != ".md":
            told = next((tell(path) for tell in hooks("stray_file").values()), "")
            kind = path.suffix or "nameless kind of"
            faults.append(ValidationIssue(path, 1, told or f"a {kind} file is no document (.md)"))
        elif (size := path.stat().st_size) > policy.max_bytes:
            faults.append(
                ValidationIssue(
                    path, 1, f"{(size + 1023) >> 10:,} KiB, a document has at most {policy.max_kib:,}: split it"
                )
            )
    return faults


def check_characters(documents: list[LocatedRecord[Document]]) -> list[ValidationIssue]:
    """Places where text was lost before it came here: it was decoded as what it is not."""
    faults = []
    for document in documents:
        for number, line in enumerate(document.value.text.split("\n")):
            if found := _LOST.search(line):
                what = f"bad encoding: U+{ord(found[0]):04X} at column {found.start() + 1}"
                faults.append(ValidationIssue(document.path, document.line + number, what))
    return faults
