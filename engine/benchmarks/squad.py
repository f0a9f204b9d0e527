"""Writes a SQuAD file (1.1, 2.0) as a data folder for the other benchmarks.

    .venv/bin/python engine/benchmarks/squad.py squad.json /tmp/squad --train-articles 18

Each paragraph is a document, impossible questions are unanswerable rows. What breaks a rule of the data is left out and
counted.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

from sluice.core.atomic_files import read_json
from sluice.core.errors import SluiceError
from sluice.data import contract
from sluice.data.contract import check_or_raise
from sluice.data.privacy import DataPolicy
from sluice.data.row_rules import occurs
from sluice.data.rows import Document, Row, write_document, write_rows
from sluice.data.scanning import LocatedRecord, ValidationIssue
from sluice.extras.datakit.documents import keep_documents, whole_folder
from sluice.extras.datakit.tables import keep, redact_row


def import_squad(
    source: Path, out: Path, *, train_articles: int, licence: str, origin: str, policy: DataPolicy
) -> dict[str, Any]:
    """Write a SQuAD file as a data set: the first `train_articles` articles train, the rest evaluates."""
    articles = _list(read_json(source), "data", source)
    if not 0 < train_articles < len(articles):
        what = f"{source}: {train_articles} articles for training, but the file has {len(articles)}"
        raise SluiceError(what, remedy="leave at least one article on each side (--train-articles)")
    documents: dict[Path, Document] = {}
    questions: dict[str, list[dict[str, Any]]] = {}
    training: set[str] = set()
    numbered = list(enumerate(articles, 1))
    # Evaluation comes first, so that a repeat costs the training side and the measure stays as it is.
    for number, article in numbered[train_articles:] + numbered[:train_articles]:
        title = str(article.get("title") or f"Article {number}").replace("_", " ").strip()
        for place, paragraph in enumerate(_list(article, "paragraphs", source), 1):
            name, text = f"a{number:03}-p{place:02}", str(paragraph.get("context") or "").strip()
            documents[Path(name)] = Document(id=name, title=title, licence=licence, source=origin, text=text)
            questions[name] = _list(paragraph, "qas", source)
            if number <= train_articles:
                training.add(name)
    fit, unfit, _ = keep_documents(documents, policy)
    corpus = {document.id: document for document in fit.values()}
    dropped = Counter(f"paragraph: {_reason(fault)}" for fault in unfit)
    dropped["question: its paragraph was left out"] = sum(len(questions[name]) for name in questions.keys() - corpus)
    numbers = count(1)  # SQuAD has no lines: the number of the question stands for one
    sides: dict[str, list[LocatedRecord[Row]]] = {"eval": [], "train": []}
    for name, document in corpus.items():
        for row in _rows(questions[name], document):
            placed = LocatedRecord(redact_row(row, policy.privacy), source, next(numbers))
            sides["train" if name in training else "eval"].append(placed)
    kept: list[LocatedRecord[Row]] = []
    with whole_folder(out) as fresh:
        for document in corpus.values():
            write_document(fresh / "corpus", document)
        for file, side in sides.items():
            repeated = {fault.line for fault in contract.check_duplicate_ids([*kept, *side])}
            unique = [row for row in side if row.line not in repeated]
            good, faults = keep(unique, corpus, kept, policy.privacy)
            dropped.update({fault.line: f"question: {_reason(fault)}" for fault in faults}.values())
            dropped["question: its id is already used"] += len(repeated)
            write_rows(fresh / f"{file}.jsonl", (row.value for row in good))
            kept += good
        report = check_or_raise(fresh, policy)
    return {"counts": report.counts, "dropped": dict(sorted((+dropped).items()))}


def _reason(fault: ValidationIssue) -> str:
    return re.split(r": | as ", fault.what)[0]


def _list(value: Any, key: str, path: Path) -> list[dict[str, Any]]:
    found = value.get(key) if isinstance(value, dict) else None
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise SluiceError(f"{path}: no list of objects {key!r}", remedy="give a SQuAD file, version 1.1 or 2.0")
    return found


def _rows(questions: list[dict[str, Any]], document: Document) -> Iterator[Row]:
    """Yield a paragraph's rows with the answers that occur as whole words in it, or with all if none does."""
    tag = document.id.partition("-")[0]
    for number, question in enumerate(questions, 1):
        answers = [str(answer.get("text") or "").strip() for answer in question.get("answers") or ()]
        answers = list(dict.fromkeys(answers))
        held = [answer for answer in answers if occurs(answer, document.text)]
        impossible = bool(question.get("is_impossible"))
        yield Row(
            id=re.sub(r"\s+", "-", str(question.get("id") or "").strip()) or f"{document.id}-q{number:02}",
            question=str(question.get("question") or "").strip(),
            answers=() if impossible else tuple(held or answers),
            doc_ids=() if impossible else (document.id,),
            tags=(tag, "unanswerable") if impossible else (tag,),
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--train-articles", type=int, required=True, help="the first ones; the rest evaluates")
    words = parser.parse_args()
    terms: dict[str, Any] = {"licence": "CC-BY-SA-4.0", "origin": "SQuAD", "policy": DataPolicy()}
    print(json.dumps(import_squad(words.source, words.out, train_articles=words.train_articles, **terms), indent=2))
