"""What it costs to change one document in a hundred: the index and its collection built anew, and built on.

    .venv/bin/python engine/benchmarks/incremental.py [--documents 6000]     # two minutes

Documents are made up, of a hundred words each; the embedder is the real one. Each build is that of `sluice index build`
without the start of its process: embed, write build/index, load the collection, search once. The same build of the same
documents is then compared with one that knew nothing.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from figures import show, table

from sluice.core.workspace import Workspace
from sluice.data.rows import Document
from sluice.llm.model_files import ModelSpec, ensure, load_models
from sluice.retrieval.embedder import Embedder
from sluice.retrieval.index_files import ChunkerSettings, IndexInfo, build_index, identity_of, read_index
from sluice.retrieval.index_stage import RememberingEmbedder
from sluice.retrieval.retriever import open_retriever
from sluice.retrieval.stores import Stores

WORDS = 100
VOCABULARY = (
    "the a of in to with for on by from one each some many old new small large first last good clear quick slow work"
    " time part place hand side way day line group case point house room water light paper city river field road table"
    " number letter answer question reason result change plan order test model index store service release team person"
    " makes takes gives finds keeps holds shows moves turns starts ends runs reads writes sends asks needs helps and or"
)
CHANGED = 0.01
LIMIT = 0.03
LOCAL = Stores.model_validate({"default": "local", "stores": {"local": {"kind": "embedded"}}})


def corpus(size: int, versions: dict[int, int]) -> list[Document]:
    """`versions`: number of a document to which text of it; 0 where it is not named."""
    documents = []
    for number in range(size):
        rng = np.random.default_rng([number, versions.get(number, 0)])
        words = rng.choice(VOCABULARY.split(), size=WORDS)
        name = f"d{number:06}"
        documents.append(Document(id=name, title=name, licence="CC0-1.0", source="made up", text=" ".join(words) + "."))
    return documents


def build(documents: list[Document], embedder: Embedder, spec: ModelSpec, state: Path) -> tuple[float, IndexInfo, int]:
    """Seconds, what was built, and how many chunks were embedded."""
    began = time.perf_counter()
    remembering = RememberingEmbedder(embedder, state / "vectors", identity_of(spec))
    info = build_index(documents, remembering, spec, ChunkerSettings(), state / "index")
    with open_retriever(state / "index", embedder, LOCAL, state) as retriever:
        retriever.search(documents[0].title, k=1)
    return time.perf_counter() - began, info, remembering.fresh


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--documents", type=int, default=6000)
    options = parser.parse_args()
    workspace = Workspace.find()
    spec = load_models(workspace.config / "models.yaml").embed
    few = round(options.documents * CHANGED)
    state = Path(tempfile.mkdtemp(prefix="si"))
    try:
        with Embedder(ensure(spec, workspace.cache)) as embedder, open_retriever_of_nothing(embedder, spec, state):
            first = corpus(options.documents, {})
            full, info, embedded = build(first, embedder, spec, state)
            print(f"full: {full:.1f} s, {embedded} embedded", flush=True)
            # Every hundredth is another text; of these the last is gone.
            later = corpus(options.documents, {100 * number: 1 for number in range(few)})
            gone = later.pop(100 * (few - 1))
            took, info, fresh = build(later, embedder, spec, state)
            same = vectors_agree(later, embedder, spec, state, info)
        assert gone.id not in {chunk.doc_id for chunk in read_index(state / "index")[1]}
    finally:
        shutil.rmtree(state, ignore_errors=True)
    share = took / full
    rows = [["all", f"{full:.2f}", str(embedded)], [f"{CHANGED:.0%} changed", f"{took:.2f}", str(fresh)]]
    print(
        f"{options.documents:,} documents of {WORDS} words:\n\n{table(['build', 'seconds', 'chunks embedded'], rows)}"
    )
    figures = [
        ("time of a build with 1 % changed, of a full one's", f"{share:.3f}", f"at most {LIMIT}", share <= LIMIT),
        ("chunks embedded again", str(fresh), f"{few - 1}", fresh == few - 1),
        ("cosine of a sample of vectors with those of a build that knew nothing", f"{same:.4f}", "1", same > 0.999),
    ]
    return show(figures)


def open_retriever_of_nothing(embedder: Embedder, spec: ModelSpec, state: Path):  # type: ignore[no-untyped-def]
    """Starts the server and keeps it: both builds find it running."""
    build_index(corpus(1, {}), embedder, spec, ChunkerSettings(), state / "nothing")
    return open_retriever(state / "nothing", embedder, LOCAL, state)


def vectors_agree(
    documents: list[Document], embedder: Embedder, spec: ModelSpec, state: Path, info: IndexInfo
) -> float:
    """The least cosine over every twentieth document, those that were changed among them."""
    sample = documents[::20]
    build_index(sample, embedder, spec, ChunkerSettings(), state / "sample")
    fresh = dict(zip((c.id for c in read_index(state / "sample")[1]), read_index(state / "sample")[2], strict=True))
    _, chunks, vectors = read_index(state / "index")
    assert len(chunks) == info.chunks
    return min(
        float(vector @ fresh[chunk.id]) for chunk, vector in zip(chunks, vectors, strict=True) if chunk.id in fresh
    )


if __name__ == "__main__":
    sys.exit(main())
