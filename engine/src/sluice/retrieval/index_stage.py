"""The `index` stage: builds build/index and its collection in the store from data/corpus. Runs as `sluice index
build`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sluice.core.params import load_params
from sluice.core.progress import StageReporter
from sluice.core.settings import Settings, load_settings
from sluice.core.workspace import Workspace
from sluice.data.rows import load_corpus
from sluice.llm.model_files import ensure, load_models
from sluice.retrieval.chunking import ChunkerSettings, chunk
from sluice.retrieval.embedder import Embedder
from sluice.retrieval.index_files import IndexInfo, build_index, identity_of
from sluice.retrieval.sharding import CorpusShard, embed_share
from sluice.retrieval.stores import Stores
from sluice.retrieval.vector_cache import ImportedVectors, RememberingEmbedder


class IndexParameters(Settings):
    chunker: ChunkerSettings


@dataclass(frozen=True)
class IndexBuild:
    """`embedded`: how many chunks were not known from an earlier build on this machine."""

    info: IndexInfo
    embedded: int


def run_shard(workspace: Workspace, shard: CorpusShard, out: Path) -> int:
    """Embeds the chunks of a shard's documents, and no more. What is there already is not embedded again.

    Args:
        workspace: the checkout.
        shard: which share of the documents.
        out: folder, below which the shard has one of its own.

    Returns:
        Number of chunks.
    """
    progress = StageReporter("index")
    parameters = load_params(workspace.params, "index", IndexParameters)
    spec = load_models(workspace.config / "models.yaml").embed
    documents = load_corpus(workspace.data / "corpus", keep=shard.takes)
    # The machine has nothing else to do.
    with Embedder(ensure(spec, workspace.cache), threads=os.cpu_count() or 1) as embedder:
        return embed_share(
            documents,
            shard,
            parameters.chunker,
            embedder,
            identity_of(spec),
            out,
            report=lambda done, of: progress.report(done, of, f"chunks of shard {shard.number} of {shard.of}"),
        )


def count_chunks(workspace: Workspace) -> int:
    """How many chunks `run` would make of the corpus."""
    parameters = load_params(workspace.params, "index", IndexParameters)
    return len(chunk(load_corpus(workspace.data / "corpus"), parameters.chunker))


def run(
    workspace: Workspace, *, store: str = "", env: str = "", tenant: str = "", shards: Sequence[Path] = ()
) -> IndexBuild:
    """Builds the index and proves that the store can serve it by one search.

    Args:
        workspace: the checkout.
        store: name of the store; default: as config/stores.yaml says.
        env: environment whose store is taken.
        tenant: whose documents are indexed beside those for everybody, as build/index-<tenant> and in its store.
        shards: folders of `run_shard`, whose vectors are taken; then no document is embedded here.
    """
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
        source = ImportedVectors(shards, identity_of(spec)) if shards else embedder
        remembering = RememberingEmbedder(source, workspace.state / "vectors", identity_of(spec))
        info = build_index(documents, remembering, spec, parameters.chunker, out)
        embedded = 0 if shards else remembering.fresh
        progress.report(3, 4, "loading the collection")
        with open_retriever(out, embedder, stores, workspace.state) as retriever:
            retriever.search(documents[0].title, k=1, tenant=tenant or None)
    progress.report(4, 4, f"{info.chunks} chunks, {embedded} embedded")
    return IndexBuild(info, embedded)
