"""The application under evaluation: the answer chain, with the response cache in front of model, search and guards.

Model, search and guards start at the first cache miss; without a miss they never start.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from sluice.core.digests import digest_of, digest_of_file
from sluice.core.errors import SluiceError
from sluice.core.extras import hooks
from sluice.data.rows import Row
from sluice.evaluation.metrics import K
from sluice.evaluation.registry import Output
from sluice.evaluation.replay import RecordedChat, RecordedGuards, RecordedSearch, guards_digest, search_digest
from sluice.evaluation.response_cache import NotRecordedError, NotStartedError, ResponseCache, asking, times
from sluice.guardrails.check import Checks
from sluice.llm.chat import ChatProvider
from sluice.retrieval import Search
from sluice.retrieval.stores import Stores
from sluice.serving.release_parts import ReleaseBundle
from sluice.serving.runner import ApplicationRunner
from sluice.serving.runtime import open_guards, open_model, open_search


@dataclass(frozen=True)
class WorkerParts:
    """Model, search and guards of a worker. `chat` is None in replay."""

    chat: ChatProvider | None
    search: Search
    guards: Checks


class Digests(NamedTuple):
    """Digests over what decides about the results of each part, beside what it is asked."""

    model: str
    search: str
    guards: str


class ChainWorker:
    """One answer chain over its own model, search and guards; without them, over the cache alone."""

    def __init__(
        self,
        bundle: ReleaseBundle,
        cache: ResponseCache,
        digests: Digests,
        parts: WorkerParts | None = None,
        *,
        replay: bool,
    ) -> None:
        def opened() -> WorkerParts:
            if parts is None:
                raise SluiceError("no provider is running")
            return parts

        def chat() -> ChatProvider:
            if (found := opened().chat) is None:
                raise SluiceError("replay calls no provider")
            return found

        self.search = RecordedSearch(cache, digests.search, lambda: opened().search, k=K)
        guards = RecordedGuards(cache, digests.guards, lambda: opened().guards)
        recorded = RecordedChat(cache, bundle.providers.chat, chat, model_digest=digests.model, replay=replay)
        self.runner = ApplicationRunner(bundle, recorded, self.search, guards)


@dataclass
class RunnerTarget:
    """The application as the runner asks it, with the five best chunks beside each answer.

    The `closed` worker answers out of the cache; at the first miss all other workers start together, so that nothing is
    timed while one of them does. A local model has a worker for each parallel answer: no other shares its threads.
    """

    closed: ChainWorker
    open_workers: Callable[[], list[ChainWorker]]
    cache: ResponseCache
    concurrency: int
    model_digest: str = ""
    _free: list[ChainWorker] | None = field(default=None, init=False)
    _unable: NotStartedError | None = field(default=None, init=False)

    async def ask(self, row: Row, *, trial: int) -> Output:
        if self._free is None:
            try:
                return await self._ask(self.closed, row, trial)
            except NotRecordedError:
                raise
            except Exception:  # a worker with a model will tell whether it is more than a miss
                if self._free is None:
                    self._free = self._start()
        worker = self._free.pop()
        try:
            return await self._ask(worker, row, trial)
        finally:
            self._free.append(worker)

    def _start(self) -> list[ChainWorker]:
        """Start the workers once: each try would open models and stores beside those of the last."""
        if self._unable is None:
            try:
                return self.open_workers()
            except SluiceError as error:
                self._unable = NotStartedError(error.message, remedy=error.remedy)
        raise self._unable

    async def _ask(self, worker: ChainWorker, row: Row, trial: int) -> Output:
        with asking(trial) as record, ExitStack() as around:
            for enter in hooks("evaluated_case").values():
                around.enter_context(enter(row, worker.runner.services))
            try:
                answer = await worker.runner.answer(row.conversation)
            except Exception:
                if record.missed:
                    raise NotRecordedError(record.missed) from None
                raise
        hits = await asyncio.to_thread(worker.search.search, row.in_context, k=K)
        latency_ms, ttft_ms = times(self.cache, record, answer.latency_ms, answer.ttft_ms)
        return Output(
            text=answer.text,
            declined=answer.declined,
            retrieved=tuple(hit.doc_id for hit in hits),
            passages=tuple(hit.text for hit in answer.hits) if record.responses or not answer.declined else (),
            citations=tuple(citation.document for citation in answer.citations),
            latency_ms=latency_ms,
            ttft_ms=ttft_ms,
            prompt_tokens=answer.usage.prompt_tokens,
            completion_tokens=answer.usage.completion_tokens,
            cost=answer.cost,
            recorded=record.recorded,
            steps=answer.steps,
        )


@contextmanager
def open_application(
    bundle: ReleaseBundle, stores: Stores, state: Path, *, workers: int, cache: ResponseCache, replay: bool = False
) -> Iterator[RunnerTarget]:
    """Open the application. `workers`: parallel answers of a local model; others have the provider's limit."""
    first = bundle.providers.chat[0]
    local = first.kind == "local"
    digests = Digests(model_digest(bundle), search_digest(bundle), guards_digest(bundle))
    worker = partial(ChainWorker, bundle, cache, digests, replay=replay)
    with ExitStack() as opened:

        def open_worker() -> ChainWorker:
            chat = None if replay else opened.enter_context(open_model(bundle))
            search = opened.enter_context(open_search(bundle, stores, state))
            return worker(WorkerParts(chat, search, open_guards(bundle, search.embedder)))

        def open_workers() -> list[ChainWorker]:
            return [open_worker() for _ in range(workers)] if local else [open_worker()] * first.max_concurrency

        concurrency = workers if local else first.max_concurrency
        yield RunnerTarget(worker(), open_workers, cache, concurrency=concurrency, model_digest=digests.model)


def model_digest(bundle: ReleaseBundle) -> str:
    adapter = digest_of_file(bundle.adapter) if bundle.adapter else None
    return digest_of({"base": digest_of_file(bundle.model), "adapter": adapter, "llama.cpp": version("xllamacpp")})
