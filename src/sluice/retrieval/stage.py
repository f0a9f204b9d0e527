"""The `index` stage: data/corpus -> build/index, and its collection in the store. Runs as `sluice index build`."""

from __future__ import annotations

from sluice.core.params import load_params
from sluice.core.progress import Reporter
from sluice.core.settings import Settings, load_settings
from sluice.core.workspace import Workspace
from sluice.data.rows import load_corpus
from sluice.llm.models import ensure, load_models
from sluice.retrieval.chunking import ChunkerSettings
from sluice.retrieval.embedder import Embedder
from sluice.retrieval.index import IndexInfo, build_index
from sluice.retrieval.retriever import open_retriever
from sluice.retrieval.stores import Stores


class IndexParameters(Settings):
    chunker: ChunkerSettings


def run(workspace: Workspace) -> IndexInfo:
    """Builds the index and proves that the store can serve it by one search."""
    progress = Reporter("index")
    parameters = load_params(workspace.params, "index", IndexParameters)
    spec = load_models(workspace.config / "models.yaml").embed
    stores = load_settings(workspace.config / "stores.yaml", Stores)
    documents = load_corpus(workspace.data / "corpus")
    progress.report(1, 4, "fetching the embedder")
    with Embedder(ensure(spec, workspace.cache)) as embedder:
        progress.report(2, 4, f"embedding {len(documents)} documents")
        info = build_index(documents, embedder, spec, parameters.chunker, workspace.build / "index")
        progress.report(3, 4, "loading the collection")
        with open_retriever(workspace.build / "index", embedder, stores, workspace.state) as retriever:
            retriever.search(documents[0].text, k=1)
    progress.report(4, 4, f"{info.chunks} chunks")
    return info
