"""Search with cached results, in the same store as the responses."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import sluice.retrieval
from sluice.core.atomic_files import read_json
from sluice.core.digests import digest_of, digest_of_code, digest_of_file
from sluice.evaluation.recorded_chat import current_asking
from sluice.evaluation.response_cache import ResponseCache
from sluice.retrieval import Hit
from sluice.serving.contracts import Search
from sluice.serving.release_parts import ReleaseBundle


class RecordedSearch:
    """`digest`: what decides about the result beside the question; `k`: as many chunks are always kept, so that a
    look at more of them costs no second search. Called in threads, as the chain does."""

    def __init__(self, cache: ResponseCache, digest: str, search: Callable[[], Search], *, k: int) -> None:
        self._cache = cache
        self._digest = digest
        self._search = search
        self._k = k

    def search(self, question: str, *, k: int, tenant: str | None = None) -> list[Hit]:
        """As Retriever.search, out of the cache where it can be."""
        record = current_asking()
        wide = max(k, self._k)
        key = digest_of({"search": self._digest, "question": question, "k": wide, "tenant": tenant})
        kept = record.read(self._cache, key)
        if kept is None:
            search = self._search()
            began = time.perf_counter()
            hits = search.search(question, k=wide, tenant=tenant)
            kept = {"hits": [asdict(hit) for hit in hits], "seconds": round(time.perf_counter() - began, 6)}
            self._cache.put(key, kept)
            record.made(key)
        return [Hit(**hit) for hit in kept["hits"]][:k]


def search_digest(bundle: ReleaseBundle) -> str:
    """Digest over the index, the embedder's file and the code that searches."""
    code = digest_of_code(Path(sluice.retrieval.__file__).parent)
    index = read_json(bundle.index / "index.json")["digest"]
    return digest_of({"index": index, "embedder": digest_of_file(bundle.embedder), "code": code})
