"""The `index` stage: builds build/index and its collection from data/corpus. Runs as `sluice index build`."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sluice.core.atomic_files import write_atomic
from sluice.core.digests import digest_of, digest_of_file
from sluice.core.params import load_params
from sluice.core.progress import StageReporter
from sluice.core.settings import Settings, load_settings
from sluice.core.workspace import Workspace
from sluice.data.rows import load_corpus
from sluice.llm.model_files import ensure, load_models
from sluice.retrieval import embedder as embedder_code
from sluice.retrieval.embedder import Embedder, Vectors
from sluice.retrieval.index_files import (
    ChunkerSettings,
    EmbedderIdentity,
    IndexInfo,
    TextEncoder,
    build_index,
    identity_of,
)
from sluice.retrieval.stores import Stores

_KEY = 16  # bytes of the hash of a text
# Raised for a file that is not there or damaged.
_UNREADABLE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)


class RememberingEmbedder:
    """An embedder with a file of known vectors in `folder`; `fresh` counts the texts that weren't known."""

    def __init__(self, embedder: TextEncoder, folder: Path, identity: EmbedderIdentity) -> None:
        made_by = digest_of([identity.model_dump(), digest_of_file(Path(embedder_code.__file__))])
        self._path = folder / f"{made_by[:16]}.npz"
        self._embedder = embedder
        self.fresh = 0

    def embed(self, texts: Sequence[str]) -> Vectors:
        known = self._read()
        keys = [hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=_KEY).digest() for text in texts]
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
        if missing:
            vectors = self._embedder.embed(list(missing.values()))
            known.update(zip(missing, vectors, strict=True))
            self.fresh += len(missing)
            self._write(known, keys)
        return np.asarray([known[key] for key in keys], dtype=np.float32)

    def _read(self) -> dict[bytes, Vectors]:
        """Return the known vectors; none when the file is missing or damaged."""
        try:
            with np.load(self._path) as file:
                keys, vectors = file["keys"], file["vectors"]
            return {key.tobytes(): vector for key, vector in zip(keys, vectors, strict=True)}
        except _UNREADABLE:
            return {}

    def _write(self, found: dict[bytes, Vectors], keys: Sequence[bytes]) -> None:
        current = dict.fromkeys(keys)
        others = [key for key in found if key not in current][-len(current) :]
        kept = [*others, *current]
        packed = io.BytesIO()
        np.savez(
            packed,
            keys=np.frombuffer(b"".join(kept), dtype=np.uint8).reshape(-1, _KEY),
            vectors=np.asarray([found[key] for key in kept], dtype=np.float32),
        )
        write_atomic(self._path, packed.getvalue(), sync=False)


class IndexParameters(Settings):
    chunker: ChunkerSettings


def run(workspace: Workspace, *, store: str = "", env: str = "", tenant: str = "") -> tuple[IndexInfo, int]:
    """Build the index, with one search as a proof; return it and the number of chunks that no earlier build knew."""
    from sluice.retrieval.retriever import open_retriever  # imports LangChain, which takes a second

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
        remembering = RememberingEmbedder(embedder, workspace.state / "vectors", identity_of(spec))
        info = build_index(documents, remembering, spec, parameters.chunker, out)
        progress.report(3, 4, "loading the collection")
        with open_retriever(out, embedder, stores, workspace.state) as retriever:
            retriever.search(documents[0].title, k=1, tenant=tenant or None)
    progress.report(4, 4, f"{info.chunks} chunks, {remembering.fresh} embedded")
    return info, remembering.fresh
