"""The data contract: rules that must hold before indexing, training or evaluation (engine/docs/reference/data.md)."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from sluice.core.digests import digest_of, digest_of_file
from sluice.core.errors import SluiceError, ValidationErrors
from sluice.core.extras import hooks
from sluice.data import privacy, row_rules
from sluice.data.near_duplicates import repeats_across, repeats_within, words
from sluice.data.privacy import DataPolicy, DocumentPolicy, PrivacyPolicy
from sluice.data.rows import SOURCES, Document, Row, scan_corpus, scan_rows, scan_sources
from sluice.data.scanning import LocatedRecord, ValidationIssue

_MOST_SHOWN = 50
REMEDY = "correct the lines above; engine/docs/reference/data.md lists the rules"


@dataclass(frozen=True)
class ContractReport:
    """`digest` identifies the content of the whole folder, faulty or not."""

    counts: dict[str, int]
    digest: str
    faults: tuple[ValidationIssue, ...]

    def as_dict(self) -> dict[str, Any]:
        return {"digest": self.digest, "counts": self.counts, "faults": [str(fault) for fault in self.faults]}


def check_or_raise(folder: Path, policy: DataPolicy = DataPolicy()) -> ContractReport:
    report = check(folder, policy)
    faults = [str(fault) for fault in report.faults]
    if faults:
        error = ValidationErrors(str(folder), faults, remedy=REMEDY)
        if hidden := len(faults[_MOST_SHOWN:]):
            lines = "".join(f"  {fault}\n" for fault in faults[:_MOST_SHOWN])
            error.message = f"{folder}: {len(faults)} faults\n{lines}  ... and {hidden} more"
        raise error
    return report


def data_digest(folder: Path) -> str:
    """Return the hex sha256 over the sorted relative paths and sha256 of all files in a folder."""
    return digest_of(
        {path.relative_to(folder).as_posix(): digest_of_file(path) for path in folder.rglob("*") if path.is_file()}
    )


def check(folder: Path, policy: DataPolicy = DataPolicy()) -> ContractReport:
    """Apply every rule to a data set and report all faults at once."""
    if not folder.is_dir():
        raise SluiceError(f"{folder}: no such folder", remedy="fetch the data with: dvc pull data.dvc")
    documents, faults = scan_corpus(folder / "corpus", max_bytes=policy.documents.max_bytes)
    faults += check_files(folder / "corpus", policy.documents)
    train, train_faults = scan_rows(folder / "train.jsonl")
    evaluation, evaluation_faults = scan_rows(folder / "eval.jsonl")
    faults += train_faults + evaluation_faults + scan_sources(folder / SOURCES)[1]
    rows = [*train, *evaluation]
    by_id = {placed.value.id: placed.value for placed in documents}
    # A document that cannot be read is one fault, at its own place; rows that name it are not at fault.
    unreadable = {path.stem for path in (folder / "corpus").rglob("*.md")} - by_id.keys()
    checkable = [placed for placed in rows if not unreadable & set(placed.value.doc_ids)]
    faults += row_rules.check_rows(checkable, by_id)
    faults += row_rules.check_documents(documents) + check_characters(documents)
    faults += row_rules.check_expectations(rows)
    faults += check_duplicate_ids(rows) + check_duplicate_ids(documents)
    faults += _repeats(documents, lambda document: tuple(words(document.text)), "the same text as {place}")
    faults += check_questions(train, evaluation) + check_documents(train, evaluation)
    faults += _check_documents_privacy(documents, policy.privacy) + check_rows_privacy(rows, policy.privacy)
    for check_more in hooks("data_check").values():
        faults += check_more(folder)
    declines = [sum(not placed.value.answerable for placed in side) for side in (train, evaluation)]
    counts = {
        "documents": len(documents),
        "words": sum(len(placed.value.text.split()) for placed in documents),
        "train": len(train),
        "evaluation": len(evaluation),
        "unanswerable": sum(declines),
        "train_unanswerable": declines[0],
        "evaluation_unanswerable": declines[1],
    }
    return ContractReport(counts, data_digest(folder), tuple(sorted(set(faults))))


def _check_documents_privacy(documents: list[LocatedRecord[Document]], policy: PrivacyPolicy) -> list[ValidationIssue]:
    faults = []
    for document in documents:
        value = document.value
        faults += [document.fault(what) for _, what in privacy.findings(f"{value.title} {value.source}", policy)]
        found = privacy.findings(value.text, policy)
        faults += [ValidationIssue(document.path, document.line + n - 1, what) for n, what in found]
    return faults


def check_rows_privacy(rows: Sequence[LocatedRecord[Row]], policy: PrivacyPolicy) -> list[ValidationIssue]:
    """Find personal data and secrets in any text of a row."""
    faults = []
    for row in rows:
        said = (message["content"] for message in row.value.conversation)
        expected = row.value.expect.model_dump_json() if row.value.expect else ""
        text = "\n".join((row.value.id, *said, *row.value.answers, *row.value.tags, expected))
        # An answer repeats the words of its question or document: say it once a row.
        faults += [row.fault(what) for what in sorted({what for _, what in privacy.findings(text, policy)})]
    return faults


# U+FFFD stands where a decoder met bytes it did not know; the others are written by no editor.
_LOST = re.compile("[\ufffd\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def check_files(corpus: Path, policy: DocumentPolicy) -> list[ValidationIssue]:
    """Refuse files that are no documents, and documents that are too large."""
    faults = []
    for path in sorted(corpus.rglob("*")):
        if not path.is_file():
            continue
        if corpus.resolve() not in path.resolve().parents:
            faults.append(ValidationIssue(path, 1, "is a link that leads out of the folder: put the file itself here"))
        elif path.suffix != ".md":
            kind = path.suffix or "nameless kind of"
            what = f"a {kind} file is no document (.md): bring it in with `sluice data import`"
            faults.append(ValidationIssue(path, 1, what))
        elif (size := path.stat().st_size) > policy.max_bytes:
            faults.append(
                ValidationIssue(
                    path, 1, f"{(size + 1023) >> 10:,} KiB, a document has at most {policy.max_kib:,}: split it"
                )
            )
    return faults


def check_characters(documents: list[LocatedRecord[Document]]) -> list[ValidationIssue]:
    """Find places where text was decoded as what it isn't, and lost."""
    faults = []
    for document in documents:
        for number, line in enumerate(document.value.text.split("\n")):
            if found := _LOST.search(line):
                what = f"bad encoding: U+{ord(found[0]):04X} at column {found.start() + 1}"
                faults.append(ValidationIssue(document.path, document.line + number, what))
    return faults


T = TypeVar("T", Row, Document)


def check_duplicate_ids(placed: Sequence[LocatedRecord[T]]) -> list[ValidationIssue]:
    """An id names one row, in train and evaluation together, or one document, in all folders of the corpus."""
    return _repeats(placed, lambda one: one.id, "id {key!r} is already used at {place}")


def _repeats(
    placed: Sequence[LocatedRecord[T]], key_of: Callable[[T], Hashable], message: str
) -> list[ValidationIssue]:
    first: dict[Hashable, LocatedRecord[T]] = {}
    faults = []
    for one in placed:
        if key := key_of(one.value):
            earlier = first.setdefault(key, one)
            if earlier is not one:
                faults.append(one.fault(message.format(key=key, place=_place(earlier))))
    return faults


def check_questions(
    train: Sequence[LocatedRecord[Row]], evaluation: Sequence[LocatedRecord[Row]]
) -> list[ValidationIssue]:
    """No question twice: inside one set, or, which is leakage, in both."""
    faults = []
    for rows in (train, evaluation):
        for later, earlier in repeats_within([placed.value for placed in rows]).items():
            faults.append(_same(rows[later], rows[earlier], ""))
    across = repeats_across([placed.value for placed in train], [placed.value for placed in evaluation])
    return faults + [_same(evaluation[late], train[early], "leakage: ") for late, early in across.items()]


def _same(later: LocatedRecord[Row], earlier: LocatedRecord[Row], kind: str) -> ValidationIssue:
    exactly = words(later.value.in_context) == words(earlier.value.in_context)
    return later.fault(f"{kind}{'' if exactly else 'nearly '}the same question as {_place(earlier)}")


def check_documents(
    train: Sequence[LocatedRecord[Row]], evaluation: Sequence[LocatedRecord[Row]]
) -> list[ValidationIssue]:
    """No document serves both train and evaluation. One fault per document, at its first evaluation row."""
    used: dict[str, LocatedRecord[Row]] = {}
    for placed in train:
        for doc_id in placed.value.doc_ids:
            used.setdefault(doc_id, placed)
    faults = []
    for placed in evaluation:
        for doc_id in placed.value.doc_ids:
            if earlier := used.pop(doc_id, None):
                what = f"leakage: document {doc_id!r} also serves the training row at {_place(earlier)}"
                faults.append(placed.fault(what))
    return faults


def _place(placed: LocatedRecord[T]) -> str:
    return f"{placed.path.name}:{placed.line}"
