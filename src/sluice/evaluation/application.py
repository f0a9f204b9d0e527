"""The application as evaluation asks it: the answer chain, with the response cache between it and its model and search.

Model, embedder and store start at the first request that is not in the cache. When nothing has to be asked, none does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from sluice.app.bundle import Bundle
from sluice.app.chain import AnswerChain
from sluice.app.runtime import open_model, open_search
from sluice.core.digests import digest_of, digest_of_file
from sluice.evaluation.cache import ResponseCache
from sluice.evaluation.metrics.recall_at_5 import K
from sluice.evaluation.output import Output
from sluice.evaluation.recorded import NotRecordedError, RecordedChat, asking, times
from sluice.evaluation.recorded_search import RecordedSearch, search_identity
from sluice.guardrails import Guards
from sluice.retrieval.stores import Stores


@dataclass(frozen=True)
class Lane:
    """One chain with a model and a search of its own."""

    chain: AnswerChain
    search: RecordedSearch


class ChainApplication:
    """The answer chain as the runner asks it, with the five best chunks beside each answer.

    Each question takes a lane that is free. With a local model there is a lane for each worker, so that every answer is
    timed without a neighbour on its threads; with others all questions share one, up to the provider's limit.
    """

    def __init__(self, lanes: Sequence[Lane], cache: ResponseCache) -> None:
        self.concurrency = len(lanes)
        self._free = list(lanes)
        self._cache = cache

    async def ask(self, question: str, *, trial: int) -> Output:
        lane = self._free.pop()
        try:
            return await self._ask(lane, question, trial)
        finally:
            self._free.append(lane)

    async def _ask(self, lane: Lane, question: str, trial: int) -> Output:
        with asking(trial) as record:
            try:
                answer = await lane.chain.answer([{"role": "user", "content": question}])
            except Exception:
                if record.missed:
                    raise NotRecordedError(record.missed) from None
                raise
        hits = await asyncio.to_thread(lane.search.search, question, k=K)
        latency_ms, ttft_ms = times(self._cache, record, answer.latency_ms, answer.ttft_ms)
        return Output(
            text=answer.text,
            declined=answer.declined,
            retrieved=tuple(hit.doc_id for hit in hits),
            passages=tuple(hit.text for hit in answer.hits) if record.responses else (),
            citations=tuple(citation.document for citation in answer.citations),
            latency_ms=latency_ms,
            ttft_ms=ttft_ms,
            prompt_tokens=answer.usage.prompt_tokens,
            completion_tokens=answer.usage.completion_tokens,
            cost=answer.cost,
            recorded=record.recorded,
        )


@contextmanager
def open_application(
    bundle: Bundle, stores: Stores, state: Path, *, workers: int, cache: ResponseCache, replay: bool = False
) -> Iterator[ChainApplication]:
    """`workers`: lanes of a local model; other providers are asked as many questions at once as their entry allows."""
    local = bundle.providers.chat[0].kind == "local"
    digest, found = model_digest(bundle), search_identity(bundle)
    with ExitStack() as opened:

        def lane() -> Lane:
            search = RecordedSearch(cache, found, lambda: opened.enter_context(open_search(bundle, stores, state)), k=K)
            chat = RecordedChat(
                cache,
                bundle.providers.chat,
                lambda: opened.enter_context(open_model(bundle)),
                model_digest=digest,
                replay=replay,
            )
            return Lane(AnswerChain(bundle, chat, search, Guards(bundle.guardrails)), search)

        first = lane()
        limit = bundle.providers.chat[0].max_concurrency
        lanes = [first, *(lane() for _ in range(workers - 1))] if local else [first] * limit
        yield ChainApplication(lanes, cache)


def model_digest(bundle: Bundle) -> str:
    """Of all that makes the local model answer as it does: weights, adapter, and the llama.cpp that runs them."""
    adapter = digest_of_file(bundle.adapter) if bundle.adapter else None
    return digest_of({"base": digest_of_file(bundle.model), "adapter": adapter, "llama.cpp": version("xllamacpp")})
