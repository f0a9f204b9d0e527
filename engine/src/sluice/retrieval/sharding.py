"""Embeds a large corpus on several machines: each takes a share of the documents; one index is built from all vectors.

A document's shard depends on its id alone, so that machines need no coordination, and a lost machine is restarted by
itself. Vectors are written in parts: texts of a finished part are not embedded again.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sluice.core.atomic_files import write_json
from sluice.core.errors import SluiceError
from sluice.data.rows import Document
from sluice.retrieval.chunking import ChunkerSettings, chunk
from sluice.retrieval.index_files import EmbedderIdentity, TextEncoder, texts_of
from sluice.retrieval.vector_cache import RememberingEmbedder

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
            raise SluiceError(f"--shard {written!r}: is not K/N with K from 1 to N", remedy="write it as 3/16")
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
