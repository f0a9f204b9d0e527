"""A search that remembers, in the same store as the responses."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import sluice.retrieval
from sluice.app.bundle import Bundle
from sluice.app.chain import Search
from sluice.core.digests import digest_of, digest_of_file
from sluice.core.files import read_json
from sluice.evaluation.cache import ResponseCache
from sluice.evaluation.recorded import current_asking
from sluice.retrieval import Hit


class RecordedSearch:
    """Make it in a running event loop; `search` is called in other threads, as the chain does.

    `identity`: what decides about the result beside the question; `k`: as many chunks are always kept, so that a look
    at more of them costs no second search. `open_search` is called at the first question that is not in the cache, in
    the event loop's thread: what starts there keeps its hands off the signals of the process.
    """

    def __init__(self, cache: ResponseCache, identity: str, open_search: Callable[[], Search], *, k: int) -> None:
        self._cache = cache
        self._identity = identity
        self._open_search = open_search
        self._k = k
        self._search: Search | None = None
        self._loop = asyncio.get_running_loop()

    def search(self, question: str, *, k: int, tenant: str | None = None) -> list[Hit]:
        """As Retriever.search, out of the cache where it can be."""
        record = current_asking()
        wide = max(k, self._k)
        key = digest_of({"search": self._identity, "question": question, "k": wide, "tenant": tenant})
        if (kept := self._cache.get(key)) is None:
            kept = self._ask(question, wide, tenant)
            self._cache.put(key, kept)
            record.live = True
            record.keys.append(key)
        else:
            record.read(key, kept["seconds"], kept["seconds"])
        return [Hit(**hit) for hit in kept["hits"]][:k]

    def _ask(self, question: str, k: int, tenant: str | None) -> dict[str, Any]:
        if self._search is None:
            asyncio.run_coroutine_threadsafe(self._open(), self._loop).result()
        assert self._search is not None
        began = time.perf_counter()
        hits = self._search.search(question, k=k, tenant=tenant)
        return {"hits": [asdict(hit) for hit in hits], "seconds": round(time.perf_counter() - began, 6)}

    async def _open(self) -> None:
        if self._search is None:
            self._search = self._open_search()


def search_identity(bundle: Bundle) -> str:
    """Digest over the index, the embedder's file and the code that searches."""
    package = Path(sluice.retrieval.__file__).parent
    code = {path.name: digest_of_file(path) for path in package.glob("*.py")}
    index = read_json(bundle.index / "index.json")["digest"]
    return digest_of({"index": index, "embedder": digest_of_file(bundle.embedder), "code": code})
