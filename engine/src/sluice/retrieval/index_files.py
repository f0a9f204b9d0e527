"""The versioned index as files: chunks, vectors, and an index.json with the inputs they were made from.

The files are what a release pins; a collection in PostgreSQL is loaded from them and can always be loaded again.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from pydantic import ValidationError

from sluice.core.atomic_files import read_json, read_jsonl, write_atomic, write_json, write_jsonl
from sluice.core.digests import digest_of, digest_of_file
from sluice.core.errors import SluiceError
from sluice.core.settings import Settings
from sluice.data.rows import Document
from sluice.llm.model_files import ModelSpec
from sluice.retrieval.chunking import Chunk, ChunkerSettings, chunk
from sluice.retrieval.embedder import Vectors


class TextEncoder(Protocol):
    """What makes vectors: one row of length 1 for each text."""

    def embed(self, texts: Sequence[str]) -> Vectors: ...


class EmbedderIdentity(Settings):
    source: str
    sha256: str
    convert: str | None


class IndexInfo(Settings):
    """index.json. `digest` is over embedder, chunker and chunks: the same content has the same digest everywhere."""

    digest: str
    embedder: EmbedderIdentity
    chunker: ChunkerSettings
    documents: int
    chunks: int
    dimension: int
    files: dict[str, str]

    @property
    def collection(self) -> str:
        """The collection's name in a store: content-addressed, so a new index stands beside the old one. The number is
        that of the table's layout: a store may hold tables of older versions of this code, which still use them."""
        return f"chunks_v3_{self.digest[:16]}"


def build_index(
    documents: list[Document], embedder: TextEncoder, spec: ModelSpec, settings: ChunkerSettings, out: Path
) -> IndexInfo:
    """Writes the index of `documents` to `out`, whole or not at all. Title and text are embedded together.

    Documents are taken in the order of their ids: a store, which knows no order, can then make the digest again."""
    chunks = chunk(sorted(documents, key=lambda document: document.id), settings)
    if not chunks:
        raise SluiceError("the corpus has no text to index", remedy="add documents to data/corpus/")
    vectors = embedder.embed(texts_of(chunks))
    identity = identity_of(spec)
    rows = [c.row() for c in chunks]
    draft = out.with_name(f".{out.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    write_jsonl(draft / "chunks.jsonl", rows)
    packed = io.BytesIO()
    np.save(packed, vectors)
    write_atomic(draft / "vectors.npy", packed.getvalue())
    info = IndexInfo(
        digest=digest_of_index(identity, settings, rows),
        embedder=identity,
        chunker=settings,
        documents=len(documents),
        chunks=len(chunks),
        dimension=int(vectors.shape[1]),
        files={name: digest_of_file(draft / name) for name in ("chunks.jsonl", "vectors.npy")},
    )
    write_json(draft / "index.json", info.model_dump())
    shutil.rmtree(out, ignore_errors=True)
    draft.replace(out)
    return info


def texts_of(chunks: Sequence[Chunk]) -> list[str]:
    """What is embedded of each."""
    return [f"{chunk.title}: {chunk.text}" for chunk in chunks]


def identity_of(spec: ModelSpec) -> EmbedderIdentity:
    return EmbedderIdentity(source=spec.source, sha256=spec.sha256, convert=spec.convert)


def digest_of_index(embedder: EmbedderIdentity, chunker: ChunkerSettings, rows: list[dict[str, str]]) -> str:
    """Digest of an index's content."""
    return digest_of({"embedder": embedder.model_dump(), "chunker": chunker.model_dump(), "chunks": rows})


def read_info(folder: Path) -> IndexInfo:
    """index.json of the index in `folder`."""
    try:
        return IndexInfo.model_validate(read_json(folder / "index.json"))
    except ValidationError as error:
        raise SluiceError(
            f"{folder / 'index.json'}: of another version: {error.errors()[0]['msg']}",
            remedy="build the index again: `sluice index build`",
        ) from None


def read_index(folder: Path) -> tuple[IndexInfo, list[Chunk], Vectors]:
    """The index in `folder`, its files checked against index.json. SluiceError names a file that does not match."""
    info = read_info(folder)
    for name, expected in info.files.items():
        if not (folder / name).is_file() or digest_of_file(folder / name) != expected:
            raise SluiceError(
                f"{folder / name}: does not match index.json", remedy="build the index again: `sluice index build`"
            )
    chunks = [Chunk.model_validate(row) for row in read_jsonl(folder / "chunks.jsonl")]
    return info, chunks, np.load(folder / "vectors.npy")
