"""The `index` stage: builds build/index and its collection in the store from data/corpus. Runs as `sluice index
build`."""

from __future__ import annotations

from dataclasses import dataclass

from sluice.core.params import load_params
from sluice.core.progress import StageReporter
from sluice.core.settings import Settings, load_settings
from sluice.core.workspace import Workspace
from sluice.data.rows import load_corpus
from sluice.llm.model_files import ensure, load_models
from sluice.retrieval.chunking import ChunkerSettings
from sluice.retrieval.embedder import Embedder
from sluice.retrieval.index_files import IndexInfo, build_index, identity_of
from sluice.retrieval.stores import Stores
from sluice.retrieval.vector_cache import RememberingEmbedder

VECTORS = "vectors"  # of the local state: what is known by earlier builds


class IndexParameters(Settings):
    chunker: ChunkerSettings


@dataclass(frozen=True)
class IndexBuild:
    """`embedded`: how many chunks were not known from an earlier build on this machine."""

    info: IndexInfo
    embedded: int


def run(workspace: Workspace, *, store: str = "", env: str = "", tenant: str = "") -> IndexBuild:
    """Builds the index and proves that the store can serve it by one search."""
    from sluice.retrieval.postgres import open_retriever  # imports LangChain, which takes a second

    progress = StageReporter("index")
    parameters = load_params(workspace.params, "index", IndexParameters)
    spec = load_models(workspace.config / "models.yaml").embed
    stores = load_settings(workspace.config / "stores.yaml", Stores).using(store=store, env=env, tenant=tenant)
    documents = load_corpus(workspace.data / "corpus")
    out = workspace.build / "index"
    if tenant:
        documents = [document for document in documents if document.tenant in (None, tenant)]
        out = workspace.build / f"index-{tenant}"
    progress.report(1, 4, "fetching the embedder")
    with Embedder(ensure(spec, workspace.cache)) as embedder:
        progress.report(2, 4, f"embedding {len(documents)} documents")
        remembering = RememberingEmbedder(embedder, workspace.state / VECTORS, identity_of(spec))
        info = build_index(documents, remembering, spec, parameters.chunker, out)
        progress.report(3, 4, "loading the collection")
        with open_retriever(out, embedder, stores, workspace.state) as retriever:
            retriever.search(documents[0].title, k=1, tenant=tenant or None)
    progress.report(4, 4, f"{info.chunks} chunks, {remembering.fresh} embedded")
    return IndexBuild(info, remembering.fresh)
