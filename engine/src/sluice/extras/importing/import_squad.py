"""Imports question sets in other formats as rows of the project.

`squad` reads SQuAD JSON, version 1.1, and 2.0 with `is_impossible`. Rows that would break the contract are left out and
counted by reason, so the result satisfies the contract. The output folder is written completely or not at all.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sluice.core.atomic_files import read_json
from sluice.core.errors import SluiceError
from sluice.data import privacy
from sluice.data.contract import DatasetCounts, check_or_raise
from sluice.data.data_policy import DataPolicy
from sluice.data.near_duplicates import repeats_across, repeats_within, words
from sluice.data.row_rules import occurs
from sluice.data.rows import Document, Row, write_document, write_rows
from sluice.extras.importing.whole_folder import whole_folder


@dataclass(frozen=True)
class ImportResult:
    """What was written, and how many rows and documents were left out for which reason."""

    counts: DatasetCounts
    dropped: dict[str, int]


@dataclass
class _ImportDraft:
    """Documents and rows on their way in; `drop` counts what stays out."""

    policy: DataPolicy
    documents: dict[str, Document] = field(default_factory=dict)
    seen: set[tuple[str, ...]] = field(default_factory=set)  # the words of each document
    train: list[Row] = field(default_factory=list)
    evaluation: list[Row] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)

    def clean(self, text: Any) -> str:
        """Without the personal data that the policy redacts."""
        return privacy.redact(str(text or "").strip(), self.policy.privacy)

    def drop(self, reason: str, number: int = 1) -> None:
        if number:
            self.dropped[reason] += number


def squad(
    path: Path,
    out: Path,
    *,
    train_articles: int,
    licence: str | None = None,
    source: str | None = None,
    policy: DataPolicy = DataPolicy(),
) -> ImportResult:
    """Imports a SQuAD file: one document a paragraph; the first `train_articles` articles train, the rest evaluate.

    `licence` and `source` default to the file's "license" and "version"; a file without them needs the arguments.
    Impossible questions become rows without answers (decline). Personal data that `policy` redacts is replaced.
    """
    file = read_json(path)
    articles = _list(file, "data", path, "the file")
    if not 0 < train_articles < len(articles):
        raise SluiceError(
            f"{path}: {train_articles} articles for training, but the file has {len(articles)}",
            remedy="leave at least one article on each side",
        )
    licence = licence or _required(file, "license", path, "licence")
    source = source or _required(file, "version", path, "source")
    draft = _ImportDraft(policy)
    numbered = list(enumerate(articles, 1))
    # Evaluation comes first, so that a repeat costs the training side and the measure stays as it is.
    for number, article in numbered[train_articles:] + numbered[:train_articles]:
        rows = draft.train if number <= train_articles else draft.evaluation
        title = str(article.get("title") or f"Article {number}").replace("_", " ").strip()
        for place, paragraph in enumerate(_list(article, "paragraphs", path, f"article {number}"), 1):
            text = draft.clean(paragraph.get("context"))
            questions = _list(paragraph, "qas", path, f"article {number}, paragraph {place}")
            document = Document(id=f"a{number:03}-p{place:02}", title=title, licence=licence, source=source, text=text)
            if reason := _unfit(document, draft):
                draft.drop(f"paragraph: {reason}")
                draft.drop(f"question: its paragraph: {reason}", len(questions))
                continue
            draft.documents[document.id] = document
            draft.seen.add(tuple(words(text)))
            fresh = (_row(question, document, f"q{n:02}", draft) for n, question in enumerate(questions, 1))
            rows += [row for row in fresh if row]
    return _finish(draft, out)


def _list(value: Any, key: str, path: Path, where: str) -> list[Any]:
    found = value.get(key) if isinstance(value, dict) else None
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise SluiceError(
            f"{path}: {where} has no list of objects {key!r}", remedy="give a SQuAD file, version 1.1 or 2.0"
        )
    return found


def _required(file: dict[str, Any], key: str, path: Path, argument: str) -> str:
    if not (value := str(file.get(key) or "").strip()):
        raise SluiceError(f"{path}: no {key!r} in the file", remedy=f"say it with the argument {argument!r}")
    return value


def _unfit(document: Document, draft: _ImportDraft) -> str | None:
    """Why the contract would refuse this document."""
    if not document.text:
        return "empty"
    if tuple(words(document.text)) in draft.seen:
        return "repeats another"
    if next(privacy.findings(f"{document.title}\n{document.text}", draft.policy.privacy), None):
        return "personal data or secret"
    return None


def _row(question: dict[str, Any], document: Document, name: str, draft: _ImportDraft) -> Row | None:
    text = draft.clean(question.get("question"))
    impossible = bool(question.get("is_impossible"))
    answers = [draft.clean(answer.get("text")) for answer in question.get("answers") or ()]
    tag = document.id.partition("-")[0]
    found = [] if impossible else [answer for answer in dict.fromkeys(answers) if occurs(answer, document.text)]
    if not text:
        draft.drop("question: blank")
    elif not impossible and not found:
        draft.drop("question: no answer in its paragraph as whole words")
    elif next(privacy.findings(text, draft.policy.privacy), None):
        draft.drop("question: personal data or secret")
    else:
        return Row(
            id=re.sub(r"\s+", "-", str(question.get("id") or "").strip()) or f"{document.id}-{name}",
            question=text,
            answers=tuple(found),
            doc_ids=() if impossible else (document.id,),
            tags=(tag, "unanswerable") if impossible else (tag,),
        )
    return None


def _finish(draft: _ImportDraft, out: Path) -> ImportResult:
    """Leaves out repeated rows, writes everything beside `out`, checks it and only then gives it its name."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SluiceError(f"{out}: already exists", remedy="remove it, or choose another folder")
    train, evaluation = _without_repeats(draft)
    with whole_folder(out) as fresh:
        for document in draft.documents.values():
            write_document(fresh / "corpus", document)
        write_rows(fresh / "train.jsonl", train)
        write_rows(fresh / "eval.jsonl", evaluation)
        report = check_or_raise(fresh, None, draft.policy)
    return ImportResult(report.counts, dict(sorted(draft.dropped.items())))


def _without_repeats(draft: _ImportDraft) -> tuple[list[Row], list[Row]]:
    """Train and evaluation rows to keep. A repeat across both costs the training row."""
    names: set[str] = set()
    sides = []
    for rows in (draft.evaluation, draft.train):
        unique = []
        for row in rows:
            if row.id in names:
                draft.drop("question: id already used")
            else:
                names.add(row.id)
                unique.append(row)
        sides.append(_keep(unique, repeats_within(unique), draft))
    evaluation, train = sides
    return _keep(train, repeats_across(evaluation, train), draft), evaluation


def _keep(rows: list[Row], lost: Collection[int], draft: _ImportDraft) -> list[Row]:
    if lost:
        draft.drop("question: nearly the same as another", len(lost))
    return [row for number, row in enumerate(rows) if number not in lost]
