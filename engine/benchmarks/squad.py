"""Turn a SQuAD file (1.1 or 2.0) into a data folder for the other benchmarks.

    .venv/bin/python engine/benchmarks/squad.py squad.json /tmp/squad

The first 18 articles are for training, the others for evaluation. Rows that break the data contract are left out and
counted.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

from sluice.cli.common import print_json
from sluice.core.atomic_files import read_json
from sluice.data import contract
from sluice.data.contract import check_or_raise
from sluice.data.privacy import DataPolicy
from sluice.data.row_rules import occurs
from sluice.data.rows import Document, Row, write_document, write_rows
from sluice.data.scanning import LocatedRecord
from sluice.extras.datakit.documents import keep_documents, whole_folder
from sluice.extras.datakit.tables import keep, redact_row

TRAINING_ARTICLES = 18


def main() -> int:
    source, out = map(Path, sys.argv[1:])
    print_json(convert(source, out, DataPolicy()))
    return 0


def convert(source: Path, out: Path, policy: DataPolicy) -> dict[str, int]:
    documents: dict[Path, Document] = {}
    questions: dict[str, list[dict[str, Any]]] = {}
    training: set[str] = set()
    numbered = list(enumerate(read_json(source)["data"], 1))
    # Evaluation comes first, so that a repeat costs the training side and the measure stays as it is.
    for number, article in numbered[TRAINING_ARTICLES:] + numbered[:TRAINING_ARTICLES]:
        title = str(article.get("title") or f"Article {number}").replace("_", " ").strip()
        for place, paragraph in enumerate(article["paragraphs"], 1):
            name, text = f"a{number:03}-p{place:02}", paragraph["context"].strip()
            documents[Path(name)] = Document(id=name, title=title, licence="CC-BY-SA-4.0", source="SQuAD", text=text)
            questions[name] = paragraph["qas"]
            if number <= TRAINING_ARTICLES:
                training.add(name)
    corpus = {document.id: document for document in keep_documents(documents, policy)[0].values()}
    numbers = count(1)  # SQuAD has no lines: the number of the question stands for one
    sides: dict[str, list[LocatedRecord[Row]]] = {"eval": [], "train": []}
    for name, document in corpus.items():
        for row in rows_of(questions[name], document):
            placed = LocatedRecord(redact_row(row, policy.privacy), source, next(numbers))
            sides["train" if name in training else "eval"].append(placed)
    kept: list[LocatedRecord[Row]] = []
    counts = {"paragraphs left out": len(documents) - len(corpus)}
    with whole_folder(out) as fresh:
        for document in corpus.values():
            write_document(fresh / "corpus", document)
        for file, side in sides.items():
            repeated = {fault.line for fault in contract.check_duplicate_ids([*kept, *side])}
            good, _ = keep([row for row in side if row.line not in repeated], corpus, kept, policy.privacy)
            write_rows(fresh / f"{file}.jsonl", (row.value for row in good))
            counts |= {file: len(good), f"{file} left out": len(side) - len(good)}
            kept += good
        check_or_raise(fresh, policy=policy)
    return counts


def rows_of(questions: list[dict[str, Any]], document: Document) -> Iterator[Row]:
    """Return the rows of a paragraph, with those of their answers that it holds as whole words, or with all."""
    tag = document.id.partition("-")[0]
    for number, question in enumerate(questions, 1):
        answers = list(dict.fromkeys(answer["text"].strip() for answer in question.get("answers") or ()))
        held = [answer for answer in answers if occurs(answer, document.text)]
        impossible = bool(question.get("is_impossible"))
        yield Row(
            id=re.sub(r"\s+", "-", str(question.get("id") or "").strip()) or f"{document.id}-q{number:02}",
            question=question["question"].strip(),
            answers=() if impossible else tuple(held or answers),
            doc_ids=() if impossible else (document.id,),
            tags=(tag, "unanswerable") if impossible else (tag,),
        )


if __name__ == "__main__":
    sys.exit(main())
