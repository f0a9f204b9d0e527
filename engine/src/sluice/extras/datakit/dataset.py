"""The data set as a whole: imported from SQuAD, described, compared with other versions, redacted in place."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

from sluice.core import git
from sluice.core.atomic_files import read_json, write_atomic
from sluice.core.errors import SluiceError
from sluice.core.text import table
from sluice.core.workspace import Workspace
from sluice.data import contract
from sluice.data.contract import check, check_or_raise
from sluice.data.privacy import KINDS, DataPolicy, PrivacyPolicy, redact
from sluice.data.row_rules import occurs
from sluice.data.rows import SOURCES, Document, Row, scan_corpus, scan_rows, scan_sources, write_document, write_rows
from sluice.data.scanning import LocatedRecord, ValidationIssue, read_text
from sluice.extras.datakit.documents import keep_documents, whole_folder
from sluice.extras.datakit.tables import keep, redact_row

_FILES = ("train.jsonl", "eval.jsonl")
_ACTIONS = {"refuse": "refused", "redact": "refused here, replaced by importers", "allow": "not looked for"}
_Records = Mapping[str, dict[str, Any]]  # fields by id


@contextmanager
def checked_out(workspace: Workspace, base: str) -> Iterator[Path]:
    """Give the data of a folder, or of a commit, branch or tag, for the block."""
    if Path(base).is_dir():
        yield Path(base)
        return
    from dvc.api import DVCFileSystem

    commit = git.resolve(workspace.root, base)
    with tempfile.TemporaryDirectory(prefix="sluice-data-") as made:
        DVCFileSystem(str(workspace.root), rev=commit).get("data", f"{made}/data", recursive=True)
        yield Path(made) / "data"


def diff(base: Path, head: Path) -> dict[str, Any]:
    """Return by file what was added, removed and changed, and under `moved` the rows that have changed sides."""
    old, new = _read(base), _read(head)
    before = {name: file for file in _FILES for name in old[file]}
    after = {name: file for file in _FILES for name in new[file]}
    moved = {name: file for name, file in sorted(after.items()) if before.get(name, file) != file}
    return {**{file: _changes(old[file], new[file]) for file in old}, "moved": moved}


def _read(folder: Path) -> dict[str, _Records]:
    documents = {one.value.id: one.value.model_dump() for one in scan_corpus(folder / "corpus")[0]}
    rows = {file: {one.value.id: one.value.as_dict() for one in scan_rows(folder / file)[0]} for file in _FILES}
    return {"documents": documents, **rows}


def _changes(old: _Records, new: _Records) -> dict[str, Any]:
    changed = {
        name: [key for key in sorted(old[name].keys() | new[name].keys()) if old[name].get(key) != new[name].get(key)]
        for name in sorted(old.keys() & new.keys())
        if old[name] != new[name]
    }
    return {"added": sorted(new.keys() - old.keys()), "removed": sorted(old.keys() - new.keys()), "changed": changed}


def redact_folder(folder: Path, policy: PrivacyPolicy) -> dict[str, int]:
    """Redact a data set, but for unreadable files; return how many documents and rows were changed."""
    changed = {"documents": 0, "rows": 0}
    for path in sorted((folder / "corpus").rglob("*.md")):
        text, faults = read_text(path)
        clean = redact(text, policy)
        if not faults and clean != text:
            write_atomic(path, clean)
            changed["documents"] += 1
    for name in _FILES:
        placed, faults = scan_rows(folder / name)
        rows = [one.value for one in placed]
        after = [redact_row(row, policy) for row in rows]
        if not faults and after != rows:
            write_rows(folder / name, after)
            changed["rows"] += sum(old != new for old, new in zip(rows, after, strict=True))
    return changed


def card(folder: Path, policy: DataPolicy) -> str:
    """Return the page; faults of the data are counted and don't stop it."""
    report = check(folder, policy)
    documents = [one.value for one in scan_corpus(folder / "corpus")[0]]
    sides = {name: [one.value for one in scan_rows(folder / f"{name}.jsonl")[0]] for name in ("train", "eval")}
    tags = {name: Counter(tag for row in side for tag in row.tags) for name, side in sides.items()}
    private = sum(one.tenant is not None for one in documents)
    origins = Counter((one.licence, one.source) for one in documents)
    contents = [["documents", str(len(documents)), "", _spread([len(one.text.split()) for one in documents])]]
    for name, side in sides.items():
        declined, lengths = sum(not row.answerable for row in side), [len(row.question.split()) for row in side]
        contents.append([f"{name} questions", str(len(side)), str(declined), _spread(lengths)])
    topics = [[tag, *(str(tags[name][tag]) for name in sides)] for tag in sorted(set().union(*tags.values()))]
    sources = [[*origin, f"{number} documents"] for origin, number in sorted(origins.items())]
    sources += [
        [one.licence, one.source, f"{one.rows} rows of {one.file}"] for one in scan_sources(folder / SOURCES)[0]
    ]
    actions = [[kind.replace("_", " "), _ACTIONS[policy.privacy.action(kind)]] for kind in KINDS]
    return f"""# Datasheet

Made of the data with digest `{report.digest}` by `sluice data card`.

## Composition

{table(["", "number", "to decline", "words (least, median, most)"], contents)}
For one tenant only: {private} documents.

## Topics

{table(["tag", *sides], topics)}
## Collection

{table(["licence", "source", "what"], sources)}
## Checks

Faults that the contract finds: {len(report.faults)}.

{table(["personal data", "policy"], [["secrets", "refused"], *actions])}
Names, and other personal data without a form of its own, are not looked for.
"""


def _spread(lengths: Sequence[int]) -> str:
    return f"{min(lengths)}, {median(lengths):g}, {max(lengths)}" if lengths else "–"


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
