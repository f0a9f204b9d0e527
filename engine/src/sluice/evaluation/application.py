"""The application as evaluation asks it: the whole of it, with the response cache between it and its parts.

Model, search and guards start at the first question that the cache cannot answer, or, without one, not at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cache as once
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from sluice.core.digests import digest_of, digest_of_file
from sluice.core.errors import SluiceError
from sluice.data.rows import Row
from sluice.evaluation.cache import ResponseCache
from sluice.evaluation.metrics.recall_at_5 import K
from sluice.evaluation.output import Output
from sluice.evaluation.recorded import NotRecordedError, NotStartedError, RecordedChat, asking, times
from sluice.evaluation.recorded_guards import RecordedGuards, guards_digest
from sluice.evaluation.recorded_search import RecordedSearch, search_digest
from sluice.llm.chat import ChatProvider
from sluice.retrieval.stores import Stores
from sluice.serving.bundle import Bundle
from sluice.serving.contracts import Checks, Search
from sluice.serving.guards import open_guards
from sluice.serving.runner import ApplicationRunner
from sluice.serving.runtime import open_model, open_search


@dataclass(frozen=True)
class Parts:
    """What a lane asks when the cache does not know. `chat` is None in replay."""

    chat: ChatProvider | None
    search: Search
    guards: Checks


class Digests(NamedTuple):
    """What decides about the results of each part, beside what it is asked."""

    model: str
    search: str
    guards: str


class ClosedError(SluiceError):
    """Something is not in the cache, and this lane has nobody to ask."""


class Lane:
    """One chain over parts of its own; without them, over the cache alone."""

    def __init__(
        self, bundle: Bundle, cache: ResponseCache, digests: Digests, parts: Parts | None = None, *, replay: bool
    ) -> None:
        self._parts = parts
        self.search = RecordedSearch(cache, digests.search, lambda: self._open.search, k=K)
        guards = RecordedGuards(cache, digests.guards, lambda: self._open.guards)
        chat = RecordedChat(cache, bundle.providers.chat, self._chat, model_digest=digests.model, replay=replay)
        self.runner = ApplicationRunner(bundle, chat, self.search, guards)

    def _chat(self) -> ChatProvider:
        if self._open.chat is None:
            raise ClosedError("replay asks nobody")
        return self._open.chat

    @property
    def _open(self) -> Parts:
        if self._parts is None:
            raise ClosedError("nobody has been started yet")
        return self._parts


class RunnerTarget:
    """The application as the runner asks it, with the five best chunks beside each answer.

    A question goes to the `closed` lane first. When the cache alone cannot answer it, `open_lanes` is called, once, and
    it takes a lane that is free. With a local model there is a lane for each worker, so that every answer is timed
    without a neighbour on its threads; with others all questions share one, up to the provider's limit. The lanes start
    together: nothing is timed while one of them does.
    """

    def __init__(
        self,
        closed: Lane,
        open_lanes: Callable[[], list[Lane]],
        cache: ResponseCache,
        *,
        concurrency: int,
        model_digest: str = "",
    ) -> None:
        self.concurrency = concurrency
        self.model_digest = model_digest
        self._closed = closed
        self._open_lanes = open_lanes
        self._free: list[Lane] | None = None
        self._unable: NotStartedError | None = None
        self._cache = cache

    async def ask(self, row: Row, *, trial: int) -> Output:
        """NotRecordedError for what replay does not find, NotStartedError when no lane can be opened; else whatever the
        chain raises."""
        if self._free is None:
            try:
                return await self._ask(self._closed, row.question, trial)
            except NotRecordedError:
                raise
            except Exception:  # a lane that can ask will say whether it is more than a miss
                if self._free is None:
                    self._free = self._start()
        lane = self._free.pop()
        try:
            return await self._ask(lane, row.question, trial)
        finally:
            self._free.append(lane)

    def _start(self) -> list[Lane]:
        """Tried once: each try would open models and stores beside those of the last."""
        if self._unable is None:
            try:
                return self._open_lanes()
            except SluiceError as error:
                self._unable = NotStartedError(error.message, remedy=error.remedy)
        raise self._unable

    async def _ask(self, lane: Lane, question: str, trial: int) -> Output:
        with asking(trial) as record:
            try:
                answer = await lane.runner.answer([{"role": "user", "content": question}])
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
) -> Iterator[RunnerTarget]:
    """`workers`: lanes of a local model; other providers are asked as many questions at once as their entry allows."""
    first = bundle.providers.chat[0]
    local = first.kind == "local"
    digests = Digests(model_digest(bundle), search_digest(bundle), guards_digest(bundle))
    lane = partial(Lane, bundle, cache, digests, replay=replay)
    with ExitStack() as opened:

        def open_lane() -> Lane:
            chat = None if replay else opened.enter_context(open_model(bundle))
            search = opened.enter_context(open_search(bundle, stores, state))
            return lane(Parts(chat, search, open_guards(bundle, search.embedder)))

        def open_lanes() -> list[Lane]:
            return [open_lane() for _ in range(workers)] if local else [open_lane()] * first.max_concurrency

        concurrency = workers if local else first.max_concurrency
        yield RunnerTarget(lane(), open_lanes, cache, concurrency=concurrency, model_digest=digests.model)


def recorded_judge(
    bundle: Bundle, cache: ResponseCache, connect: Callable[[], ChatProvider], *, replay: bool
) -> RecordedChat:
    """What is asked in place of the judge's provider. A local judge is the base model, without the adapter."""
    base = model_digest(replace(bundle, adapter=None))
    return RecordedChat(cache, bundle.providers.judge, once(connect), model_digest=base, replay=replay)


def model_digest(bundle: Bundle) -> str:
    """Of all that makes the local model answer as it does: weights, adapter, and the llama.cpp that runs them."""
    adapter = digest_of_file(bundle.adapter) if bundle.adapter else None
    return digest_of({"base": digest_of_file(bundle.model), "adapter": adapter, "llama.cpp": version("xllamacpp")})
