"""Embeds a large corpus on several machines: each takes a share of the documents; one takes all vectors, and builds.

A document's shard depends on its id alone, so that machines need no coordination, and a lost machine is restarted by
itself. Vectors are written in parts: texts of a finished part are not embedded again.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sluice.core.atomic_files import write_json
from sluice.core.errors import SluiceError
from sluice.core.params import load_params
from sluice.core.progress import StageReporter
from sluice.core.workspace import Workspace
from sluice.data.rows import Document, load_corpus
from sluice.llm.model_files import ensure, load_models
from sluice.retrieval.chunking import ChunkerSettings, chunk
from sluice.retrieval.embedder import Embedder, Vectors
from sluice.retrieval.index_files import EmbedderIdentity, TextEncoder, identity_of, texts_of
from sluice.retrieval.index_stage import VECTORS, IndexParameters
from sluice.retrieval.vector_cache import UNREADABLE, RememberingEmbedder, file_of, key_of, read_vectors

DONE = "shard.json"  # beside the parts of a shard that is whole
_PART = 2000  # chunks: minutes of work on one core, 3 MiB of MiniLM's vectors


@dataclass(frozen=True)
class CorpusShard:
    """`number`: from 1 to `of`."""

    number: int
    of: int

    @classmethod
    def parse(cls, written: str) -> CorpusShard:
        """From `K/N`."""
        found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", written)
        if found is None or not 1 <= int(found[1]) <= int(found[2]):
            raise SluiceError(f"{written!r}: is not K/N with K from 1 to N", remedy="write it as 3/16")
        return cls(int(found[1]), int(found[2]))

    @property
    def folder(self) -> str:
        """Where its vectors lie among those of the others."""
        return f"{self.number}-of-{self.of}"

    def takes(self, document: Document) -> bool:
        digest = hashlib.blake2b(document.id.encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") % self.of == self.number - 1


def embed_share(
    documents: Sequence[Document],
    shard: CorpusShard,
    settings: ChunkerSettings,
    embedder: TextEncoder,
    identity: EmbedderIdentity,
    out: Path,
    *,
    report: Callable[[int, int], None] | None = None,
    part: int = _PART,
) -> int:
    """Has `embedder`, of this identity, embed the shard's chunks, and keeps their vectors in a folder of its own below
    `out`; returns how many there are. `report` is told of how many chunks are done."""
    chunks = chunk([document for document in documents if shard.takes(document)], settings)
    folder = out / shard.folder
    for at in range(0, len(chunks), part):
        if report:
            report(at, len(chunks))
        RememberingEmbedder(embedder, folder / f"{at:09}", identity).embed(texts_of(chunks[at : at + part]))
    write_json(folder / DONE, {"chunks": len(chunks)})
    return len(chunks)


class ImportedVectors:
    """Vectors of texts that other machines have embedded, taken from below `folders`; nothing is embedded here.

    SluiceError where a file cannot be read, or a text has no vector in them."""

    def __init__(self, folders: Sequence[Path], identity: EmbedderIdentity) -> None:
        self._folders = folders
        self._known: dict[bytes, Vectors] = {}
        for folder in folders:
            found = sorted(folder.rglob(file_of(identity)))
            if not found:
                raise SluiceError(
                    f"{folder}: has no vectors of this embedder",
                    remedy="make them with this code and config/models.yaml: `sluice index shard K/N FOLDER`",
                )
            for path in found:
                try:
                    self._known.update(read_vectors(path))
                except UNREADABLE as error:
                    raise SluiceError(f"{path}: cannot be read: {error}", remedy="embed its shard again") from error

    def embed(self, texts: Sequence[str]) -> Vectors:
        """One row for each text, in order."""
        keys = [key_of(text) for text in texts]
        missing = sum(key not in self._known for key in keys)
        if missing:
            raise SluiceError(
                f"{', '.join(map(str, self._folders))}: {missing} of {len(keys)} chunks have no vector there",
                remedy="give the folders of all N shards, made from the same corpus and parameters",
            )
        return np.asarray([self._known[key] for key in keys], dtype=np.float32)


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


def take_vectors(workspace: Workspace, folders: Sequence[Path]) -> int:
    """Makes the vectors of all shards known to the builds of this checkout.

    Args:
        workspace: the checkout.
        folders: of `run_shard`.

    Returns:
        Number of chunks that were not known before.

    Raises:
        SluiceError: a file cannot be read, or a chunk has no vector in them.
    """
    parameters = load_params(workspace.params, "index", IndexParameters)
    identity = identity_of(load_models(workspace.config / "models.yaml").embed)
    chunks = chunk(load_corpus(workspace.data / "corpus"), parameters.chunker)
    known = RememberingEmbedder(ImportedVectors(folders, identity), workspace.state / VECTORS, identity)
    known.embed(texts_of(chunks))
    return known.fresh
