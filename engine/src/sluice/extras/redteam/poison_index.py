"""Adds attack documents to a copy of a release's index (indirect prompt injection).

The chunks and vectors of the release are unchanged; the attack documents are chunked and embedded in the same way.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sluice.core.atomic_files import write_atomic, write_json, write_jsonl
from sluice.core.digests import digest_of, digest_of_file
from sluice.data.rows import Document
from sluice.retrieval.embedder import Embedder
from sluice.retrieval.index_files import IndexInfo, chunk, read_index


def planted(name: str, title: str, text: str, tenant: str | None = None) -> Document:
    """A document of an attack."""
    return Document(id=name, title=title, licence="Apache-2.0", source="sluice red team", tenant=tenant, text=text)


def plant(index: Path, documents: Sequence[Document], embedder: Path, out: Path) -> IndexInfo:
    """Writes to `out` the index in `index` with `documents` added. `embedder`: the model file of the release."""
    info, chunks, vectors = read_index(index)
    added = chunk(list(documents), info.chunker)
    with Embedder(embedder) as model:
        more = model.embed([f"{one.title}: {one.text}" for one in added])
    rows = [one.row() for one in (*chunks, *added)]
    packed = io.BytesIO()
    np.save(packed, np.concatenate([vectors, more]))
    write_jsonl(out / "chunks.jsonl", rows)
    write_atomic(out / "vectors.npy", packed.getvalue())
    identity = {"embedder": info.embedder.model_dump(), "chunker": info.chunker.model_dump(), "chunks": rows}
    grown = info.model_copy(
        update={
            "digest": digest_of(identity),
            "documents": info.documents + len(documents),
            "chunks": len(rows),
            "files": {name: digest_of_file(out / name) for name in ("chunks.jsonl", "vectors.npy")},
        }
    )
    write_json(out / "index.json", grown.model_dump())
    return grown
