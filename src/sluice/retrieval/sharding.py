"""Embedding a large corpus on several machines: each its share of the documents, then one index from all vectors.

A document's share depends on its id alone, so that machines need not talk to each other, and one that was lost is
started again by itself.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from sluice.core.errors import SluiceError
from sluice.data.rows import Document
from sluice.retrieval.chunking import ChunkerSettings, chunk
from sluice.retrieval.index import Embeds, texts_of


@dataclass(frozen=True)
class Shard:
    """`number`: from 1 to `of`."""

    number: int
    of: int

    @classmethod
    def parse(cls, written: str) -> Shard:
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


def embed_share(documents: Sequence[Document], shard: Shard, settings: ChunkerSettings, embedder: Embeds) -> int:
    """Has `embedder` embed the shard's chunks, and so remember them; returns how many there are."""
    chunks = chunk([document for document in documents if shard.takes(document)], settings)
    if chunks:
        embedder.embed(texts_of(chunks))
    return len(chunks)
