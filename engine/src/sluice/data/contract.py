"""The data contract: rules that must hold before indexing, training or evaluation.

`check(folder)` looks at everything and reports all faults at once, each with its file and line.
Run it as `sluice data check`. The rules are listed in engine/docs/reference/data.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sluice.core.digests import digest_of, digest_of_file
from sluice.core.errors import SluiceError, ValidationErrors
from sluice.core.extras import hooks
from sluice.data import leakage, privacy, row_rules
from sluice.data.corpus_files import check_characters, check_files
from sluice.data.data_policy import DataPolicy, PrivacyPolicy
from sluice.data.expectations import check_expectations
from sluice.data.row_sources import FILE as SOURCES
from sluice.data.row_sources import scan_sources
from sluice.data.rows import Document, Row, scan_corpus, scan_rows
from sluice.data.scanning import LocatedRecord, ValidationIssue

REMEDY = "correct the lines above; engine/docs/reference/data.md lists the rules"


@dataclass(frozen=True)
class DatasetCounts:
    """Sizes of a data set: `words` of the corpus, `unanswerable` rows of train and evaluation together."""

    documents: int
    words: int
    train: int
    evaluation: int
    unanswerable: int
    train_unanswerable: int
    evaluation_unanswerable: int


@dataclass(frozen=True)
class ContractReport:
    """What `check` found. `digest` identifies the content of the whole folder, faulty or not."""

    folder: Path
    counts: DatasetCounts
    digest: str
    faults: tuple[ValidationIssue, ...]

    def as_dict(self) -> dict[str, Any]:
        """For build/check/report.json."""
        return {"digest": self.digest, "counts": asdict(self.counts), "faults": [str(fault) for fault in self.faults]}


def check_or_raise(folder: Path, max_shown: int | None = 50, policy: DataPolicy = DataPolicy()) -> ContractReport:
    """The report of a data set that keeps the contract."""
    report = check(folder, policy)
    shown = [str(fault) for fault in report.faults[:max_shown]]
    if shown:
        error = ValidationErrors(str(folder), [str(fault) for fault in report.faults], remedy=REMEDY)
        if hidden := len(report.faults) - len(shown):
            lines = "".join(f"  {fault}\n" for fault in shown)
            error.message = f"{folder}: {len(report.faults)} faults\n{lines}  ... and {hidden} more"
        raise error
    return report


def data_digest(folder: Path) -> str:
    """Hex sha256 over the sorted relative paths and sha256 of all files in `folder`."""
    return digest_of(
        {path.relative_to(folder).as_posix(): digest_of_file(path) for path in folder.rglob("*") if path.is_file()}
    )


def check(folder: Path, policy: DataPolicy = DataPolicy()) -> ContractReport:
    """Applies every rule to a data set and reports all faults at once."""
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
    faults += check_expectations(rows)
    faults += leakage.check_duplicate_ids(rows)
    faults += leakage.check_duplicate_ids(documents)
    faults += leakage.check_corpus_repeats(documents)
    faults += leakage.check_questions(train, evaluation)
    faults += leakage.check_documents(train, evaluation)
    faults += _check_documents_privacy(documents, policy.privacy) + check_rows_privacy(rows, policy.privacy)
    for check_more in hooks("data_check").values():
        faults += check_more(folder)
    return ContractReport(folder, _count(documents, train, evaluation), data_digest(folder), tuple(sorted(set(faults))))


def _check_documents_privacy(documents: list[LocatedRecord[Document]], policy: PrivacyPolicy) -> list[ValidationIssue]:
    faults = []
    for document in documents:
        value = document.value
        faults += [document.fault(what) for _, what in privacy.findings(f"{value.title} {value.source}", policy)]
        found = privacy.findings(value.text, policy)
        faults += [ValidationIssue(document.path, document.line + n - 1, what) for n, what in found]
    return faults


def check_rows_privacy(rows: Sequence[LocatedRecord[Row]], policy: PrivacyPolicy) -> list[ValidationIssue]:
    """Personal data and secrets in any text of a row, each kind once a row."""
    faults = []
    for row in rows:
        said = (message["content"] for message in row.value.conversation)
        expected = row.value.expect.model_dump_json() if row.value.expect else ""
        text = "\n".join((row.value.id, *said, *row.value.answers, *row.value.tags, expected))
        # An answer repeats the words of its question or document: say it once a row.
        faults += [row.fault(what) for what in sorted({what for _, what in privacy.findings(text, policy)})]
    return faults


def _count(
    documents: list[LocatedRecord[Document]], train: list[LocatedRecord[Row]], evaluation: list[LocatedRecord[Row]]
) -> DatasetCounts:
    declines = [sum(not placed.value.answerable for placed in rows) for rows in (train, evaluation)]
    return DatasetCounts(
        documents=len(documents),
        words=sum(len(placed.value.text.split()) for placed in documents),
        train=len(train),
        evaluation=len(evaluation),
        unanswerable=sum(declines),
        train_unanswerable=declines[0],
        evaluation_unanswerable=declines[1],
    )
