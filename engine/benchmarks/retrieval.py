"""How well the search finds: vectors alone, full text alone (ours, and as PostgreSQL ranks it), and the hybrid search
that the service uses, in one run.

    .venv/bin/python engine/benchmarks/retrieval.py                        # the starter data; needs data/ (`dvc pull`)
    .venv/bin/python engine/benchmarks/squad.py squad.json /tmp/squad --train-articles 18
    .venv/bin/python engine/benchmarks/retrieval.py data /tmp/squad --write

All answerable questions of train.jsonl and eval.jsonl of each folder; retrieval is not trained, so both are unseen. The
index is built as the pipeline builds it, into a store of its own. Recall, MRR and nDCG are of the right document; the
last column is the share of questions whose answer is a part of one of the best five passages. Fails when hybrid misses
a limit. With --write the tables go into engine/docs/figures.md.
"""

from __future__ import annotations

import argparse
import math
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from figures import Figure, show, table, write_block
from text_search import LOCAL, by_ts_rank

from sluice.core.params import load_params
from sluice.core.workspace import Workspace
from sluice.data.rows import Row, load_corpus, load_rows
from sluice.llm.model_files import ensure, load_models
from sluice.retrieval import Hit
from sluice.retrieval.embedder import Embedder
from sluice.retrieval.index_files import build_index
from sluice.retrieval.index_stage import IndexParameters
from sluice.retrieval.retriever import Mode, PostgresRetriever, open_retriever

K = 5
SEARCHES: dict[str, Mode] = {
    "vectors alone": "vectors",
    "full text alone": "text",
    "vectors and full text (used)": "hybrid",
}
PEER = "full text as PostgreSQL ranks it (`ts_rank_cd`)"
COLUMNS = ("recall@1", "recall@3", "recall@5", "MRR", "nDCG@5", "answer in 5")
# Of hybrid recall@5, by the folder's name; elsewhere it must only be the best of the three.
FLOORS = {"data": 0.97, "squad": 0.95}


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("folders", type=Path, nargs="*", default=[Path("data")])
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    workspace = Workspace.find()
    spec = load_models(workspace.config / "models.yaml").embed
    chunker = load_params(workspace.params, "index", IndexParameters).chunker
    figures: list[Figure] = []
    shown = []
    with Embedder(ensure(spec, workspace.cache)) as embedder:
        for folder in options.folders:
            state = Path(tempfile.mkdtemp(prefix="sr"))
            try:
                info = build_index(load_corpus(folder / "corpus"), embedder, spec, chunker, state / "index")
                rows = [row for name in ("train", "eval") for row in load_rows(folder / f"{name}.jsonl") if row.answers]
                with open_retriever(state / "index", embedder, LOCAL, state) as retriever:
                    assert isinstance(retriever, PostgresRetriever)
                    found = {
                        name: measure(rows, lambda question, mode=mode: retriever.search(question, k=K, mode=mode))  # type: ignore[misc]
                        for name, mode in SEARCHES.items()
                    }
                    with retriever._pool.connection() as connection:
                        peer = partial(by_ts_rank, connection, info.collection, k=K)
                        found[PEER] = measure(rows, peer)
            finally:
                shutil.rmtree(state, ignore_errors=True)
            body = [[name, *(f"{value:.3f}" for value in values)] for name, values in found.items()]
            head = f"`{folder.name}`: {len(rows)} answerable questions, {info.chunks} chunks"
            shown.append(f"{head}:\n\n{table(['search', *COLUMNS], body)}")
            print(shown[-1], flush=True)
            figures += judged(folder.name, found)
    if options.write:
        write_block("retrieval", "\n\n".join(shown))
    return show(figures)


def judged(name: str, found: dict[str, list[float]]) -> list[Figure]:
    place = COLUMNS.index(f"recall@{K}")
    vectors, text, hybrid = (found[name][place] for name in SEARCHES)
    floor = next((limit for word, limit in FLOORS.items() if word in name), 0.0)
    return [
        (f"{name}: hybrid recall@{K}", f"{hybrid:.3f}", f"at least {floor}", hybrid >= floor),
        (f"{name}: above vectors alone", f"{hybrid - vectors:+.3f}", "above 0", hybrid > vectors),
        (f"{name}: above full text alone", f"{hybrid - text:+.3f}", "above 0", hybrid > text),
    ]


def measure(rows: Sequence[Row], search: Callable[[str], list[Hit]]) -> list[float]:
    """The means of COLUMNS over the questions."""
    return [float(mean) for mean in np.mean([score(row, search(row.question)) for row in rows], axis=0)]


def score(row: Row, hits: Sequence[Hit]) -> list[float]:
    documents = [hit.doc_id for hit in hits]
    right = set(row.doc_ids)
    ranks = sorted(documents.index(document) + 1 for document in right & set(documents))
    best = sum(1 / math.log2(rank + 1) for rank in range(1, min(len(right), K) + 1))
    return [
        *(sum(rank <= depth for rank in ranks) / len(right) for depth in (1, 3, K)),
        1 / ranks[0] if ranks else 0.0,
        sum(1 / math.log2(rank + 1) for rank in ranks) / best,
        float(any(holds(row, hit.text) for hit in hits)),
    ]


def holds(row: Row, passage: str) -> bool:
    return any(" ".join(answer.split()).lower() in " ".join(passage.split()).lower() for answer in row.answers)


if __name__ == "__main__":
    sys.exit(main())
