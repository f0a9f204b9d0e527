"""The weights by which `small_model.max_doubt` tells questions that the handbook answers, fitted on the training rows.

    .venv/bin/python engine/benchmarks/evidence_weights.py                        # build/index and data/
    .venv/bin/python engine/benchmarks/evidence_weights.py --asked data/eval.jsonl   # how they do on other rows

Learnt from are rows with an answer, rows of the kind `unanswered`, and, weighing a twentieth, each answered row asked
of the documents without its own. Before anything is said of them, the weights of each eighth of the documents come from
the other seven. What is printed then goes into extras/small_model/constants.py, with the regression that tells small
talk (`greeting` and `about`) from all other rows.
"""

from __future__ import annotations

import argparse
import base64
import json
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from text_search import LOCAL

from sluice.core.workspace import Workspace
from sluice.data.rows import Row, load_rows
from sluice.extras.small_model.constants import SMALL_TALK_LIMIT
from sluice.extras.small_model.evidence_reader import EvidenceReader, PassageEvidence
from sluice.extras.small_model.questions import Speller, bare, small_talk_figures
from sluice.llm.model_files import ensure, load_models
from sluice.retrieval.embedder import Embedder
from sluice.retrieval.retriever import Retriever, open_retriever

KIND, PASSAGES, FALSE_DECLINES = "unanswered", 5, 0.08
MOST = 12  # passages of a document
ANSWERED, SILENT, WITHOUT = 0, 1, 2  # `WITHOUT`: of the documents without the row's own
WEIGHTS = {ANSWERED: 1.0, SILENT: 10.0, WITHOUT: 0.05}


class Asker:
    """Searches and reads as the application does. The store keeps its files in `state`."""

    def __init__(self, retriever: Retriever, reader: EvidenceReader, speller: Speller) -> None:
        self._retriever, self._reader, self._speller = retriever, reader, speller

    def ask(self, row: Row, *, without: Sequence[str] = ()) -> PassageEvidence:
        asked = "\n".join(self._speller.mend(bare(line)) for line in row.in_context.split("\n"))
        found = self._retriever.search(asked, k=PASSAGES + (MOST if without else 0))
        return self._reader.read(asked, [hit for hit in found if hit.doc_id not in without][:PASSAGES], 3)


def cases(rows: Sequence[Row], asker: Asker) -> Iterator[tuple[int, Row, PassageEvidence]]:
    for row in rows:
        if row.doc_ids and row.answers:
            yield ANSWERED, row, asker.ask(row)
            yield WITHOUT, row, asker.ask(row, without=row.doc_ids)
        elif KIND in row.tags:
            yield SILENT, row, asker.ask(row)


def main(options: argparse.Namespace) -> int:
    workspace = Workspace(Path.cwd())
    model = ensure(load_models(workspace.config / "models.yaml").embed, workspace.cache)
    with (
        tempfile.TemporaryDirectory(prefix="ew") as state,
        Embedder(model) as embedder,
        open_retriever(options.index, embedder, LOCAL, Path(state)) as retriever,
    ):
        asker = Asker(retriever, EvidenceReader(embedder), Speller.of(options.index, model))
        if options.asked:
            report(load_rows(options.asked), asker, options.limit)
            return 0
        rows = load_rows(options.rows)
        fit_small_talk(rows, embedder)
        found = [case for case in cases(rows, asker) if case[-1].figures]
    figures = np.array([evidence.figures for *_, evidence in found])
    labels = np.array([label for label, *_ in found])
    weights = np.array([WEIGHTS[label] for label in labels])
    documents = [row.doc_ids[0] if row.doc_ids else row.id for _, row, _ in found]
    scores = np.zeros(len(found))
    for others, held in GroupKFold(8).split(figures, labels, documents):
        scores[held] = fitted(figures[others], labels[others], weights[others]).predict_proba(figures[held])[:, 1]
    natural = np.array([label == SILENT or (label == ANSWERED and "span" not in row.tags) for label, row, _ in found])
    print(f"area under the curve {roc_auc_score(labels[natural] == SILENT, scores[natural]):.3f}")
    limit = float(np.quantile(scores[natural & (labels == ANSWERED)], 1 - FALSE_DECLINES))
    caught = (scores[labels == SILENT] > limit).mean()
    print(
        f"max_doubt {limit:.2f}: {FALSE_DECLINES:.0%} false declines, {caught:.2f} of {sum(labels == SILENT)} declined"
    )
    model = fitted(figures, labels, weights)
    print("weights", [round(float(one), 2) for one in model.coef_[0]], "bias", round(float(model.intercept_[0]), 2))
    return 0


def fit_small_talk(rows: Sequence[Row], embedder: Embedder) -> None:
    """Prints the weights, and how many rows of each kind are taken for small talk, asked of those without an eighth."""
    figures = np.array([small_talk_figures(one) for one in embedder.token_states([row.question for row in rows])])
    label = np.array([bool({"greeting", "about"} & set(row.tags)) for row in rows])
    model = LogisticRegression(C=30, class_weight={False: 1, True: 4}, max_iter=3000)
    taken = cross_val_predict(model, figures, label, cv=8, method="predict_proba")[:, 1] > SMALL_TALK_LIMIT
    kinds: dict[str, list[bool]] = defaultdict(list)
    for row, one in zip(rows, taken, strict=True):
        kinds[row.tags[-1]].append(bool(one))
    print("small talk", {kind: f"{sum(of)} of {len(of)}" for kind, of in sorted(kinds.items()) if any(of)})
    model.fit(figures, label)
    weights = model.coef_[0][:-1]
    scale = float(np.abs(weights).max()) / 127
    print(
        "vector",
        base64.b85encode(np.rint(weights / scale).astype(np.int8).tobytes()).decode(),
        "scale",
        round(scale, 5),
    )
    print("of tokens", round(float(model.coef_[0][-1]), 2), "bias", round(float(model.intercept_[0]), 2))


def fitted(figures: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> LogisticRegression:
    scale = figures.std(axis=0)
    model = LogisticRegression(C=0.3, max_iter=1000).fit(figures / scale, labels > 0, sample_weight=weights)
    model.coef_ = model.coef_ / scale
    return model


def report(rows: Sequence[Row], asker: Asker, limit: float) -> None:
    """How much of each kind is declined at a limit."""
    kinds: dict[str, list[bool]] = defaultdict(list)
    for row in rows:
        kinds[json.dumps(row.tags[1:])].append(asker.ask(row).doubt > limit)
    for kind, declined in sorted(kinds.items()):
        print(f"{kind} {len(declined)} declined {np.mean(declined):.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index", type=Path, default=Path("build/index"))
    parser.add_argument("--rows", type=Path, default=Path("data/train.jsonl"))
    parser.add_argument("--asked", type=Path, help="rows that are only asked, with the weights as they are")
    parser.add_argument("--limit", type=float, default=0.5)
    sys.exit(main(parser.parse_args()))
