"""How often the answer is among the best k passages: vectors alone beside the hybrid search that the service uses.

    .venv/bin/python benchmarks/retrieval.py            # needs data/ and build/index (`make release`, or dvc repro)

All answerable questions of train.jsonl and eval.jsonl; retrieval is not trained, so both are unseen. Prints a table in
Markdown; docs/reference/retrieval.md quotes it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np

from sluice.core.settings import load_settings
from sluice.core.workspace import Workspace
from sluice.data.rows import Row, load_rows
from sluice.llm.models import ensure, load_models
from sluice.retrieval.embedder import Embedder
from sluice.retrieval.index import read_index
from sluice.retrieval.retriever import open_retriever
from sluice.retrieval.stores import Stores

DEPTHS = (1, 3, 5)


def main() -> int:
    workspace = Workspace.find()
    rows = [row for name in ("train", "eval") for row in load_rows(workspace.data / f"{name}.jsonl") if row.answers]
    _, chunks, vectors = read_index(workspace.build / "index")
    stores = load_settings(workspace.config / "stores.yaml", Stores)
    model = ensure(load_models(workspace.config / "models.yaml").embed, workspace.cache)
    with Embedder(model) as embedder, open_retriever(workspace.build / "index", embedder, stores, workspace.state) as r:

        def by_vector(question: str) -> list[str]:
            near = vectors @ embedder.embed([question])[0]
            return [chunks[place].text for place in np.argsort(-near)[: max(DEPTHS)]]

        def hybrid(question: str) -> list[str]:
            return [hit.text for hit in r.search(question, k=max(DEPTHS))]

        print(f"{len(rows)} answerable questions, {len(chunks)} chunks\n")
        print(f"| search | {' | '.join(f'k = {k}' for k in DEPTHS)} |\n|---{'|---' * len(DEPTHS)}|")
        for name, search in (("vectors alone", by_vector), ("vectors and full text (used)", hybrid)):
            print(f"| {name} | {' | '.join(f'{share:.3f}' for share in shares(rows, search))} |", flush=True)
    return 0


def shares(rows: list[Row], search: Callable[[str], list[str]]) -> list[float]:
    """For each depth, the share of rows with an answer in that many best passages."""
    found = []
    for row in rows:
        passages = search(row.question)
        found.append([any(holds(row, text) for text in passages[:k]) for k in DEPTHS])
    return [float(share) for share in np.mean(found, axis=0)]


def holds(row: Row, passage: str) -> bool:
    return any(" ".join(answer.split()).lower() in " ".join(passage.split()).lower() for answer in row.answers)


if __name__ == "__main__":
    sys.exit(main())
