"""The search of a release as a LangChain retriever, for the tenant who asks."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from pydantic import PrivateAttr, SkipValidation

from sluice import retrieval
from sluice.guardrails.check import Checks
from sluice.retrieval import Hit, RetrievalError, Search
from sluice.retrieval.retriever import documents_of
from sluice.serving.answer import SearchError
from sluice.serving.request_state import RequestState, current_request
from sluice.serving.settings import RetrievalSettings
from sluice.serving.telemetry import traces

_BETWEEN_WORDS = re.compile(r"[-_./]+")  # in the name of a file
_SEARCHES = 16  # side by side; what waits for the embedder at the same time is embedded together


@dataclass(frozen=True)
class SearchResult:
    """The passages for the model, and the ones to quote.

    Attributes:
        passages: for the prompt.
        nearest: shown after a decline, as they come nearest to the question; may be empty.
        declines: whether the application declines without asking its model.
        limits: of the model's answer, for `bind`.
        quote: what answers as it stands, without a model: a list or code, which a small one would not copy whole.
    """

    passages: list[Document]
    nearest: list[Document] = field(default_factory=list)
    declines: bool = False
    limits: dict[str, Any] = field(default_factory=dict)
    quote: str = ""


class PassageRetriever(BaseRetriever):
    """The best passages, or none if even the best is further away than `retrieval.min_similarity`. With `vets`, the
    guards have checked the text, the title and the file name of each."""

    search: SkipValidation[Search]
    guards: SkipValidation[Checks]
    settings: RetrievalSettings
    vets: bool
    _threads: ThreadPoolExecutor = PrivateAttr(
        default_factory=partial(ThreadPoolExecutor, _SEARCHES, thread_name_prefix="search")
    )

    async def _aget_relevant_documents(
        self,
        query: str,
        *,
        run_manager: AsyncCallbackManagerForRetrieverRun,  # noqa: ARG002 - the signature of LangChain
    ) -> list[Document]:
        request = current_request()
        return documents_of(await request.once(f"passages for {query}", lambda: self._near(request, query)))

    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
        return asyncio.run(self._aget_relevant_documents(query, run_manager=run_manager))

    async def _near(self, request: RequestState, question: str) -> list[Hit]:
        with request.trace.step(traces.RETRIEVE) as step:
            step.text("query", question)
            try:
                search = partial(self.search.search, question, k=self.settings.k, tenant=request.tenant)
                hits = await request.in_time(asyncio.get_running_loop().run_in_executor(self._threads, search))
            except RetrievalError as error:
                raise SearchError(f"the search failed: {error.message}") from error
            step.hits(hits)
        if request.warming:
            return hits
        if self.vets:
            hits = await self._vetted(request, hits)
        request.found(hits)
        near = max((hit.similarity for hit in hits), default=-1.0) >= self.settings.min_similarity
        return hits if near else []

    async def _vetted(self, request: RequestState, hits: list[Hit]) -> list[Hit]:
        kept = []
        with request.trace.step(traces.GUARD_PASSAGES) as step:
            for hit in hits:
                name = _BETWEEN_WORDS.sub(" ", hit.doc_id)
                verdict = await self.guards.check_passage(f"{name}\n{hit.title}\n{hit.text}")
                step.verdict(verdict)
                if not verdict.blocked:
                    kept.append(hit)
        return kept


def format_passages(documents: Sequence[Document]) -> str:
    """Format passages for a prompt, one a line: `[1] Title: text`."""
    hits = [Hit(chunk_id=one.id or "", text=one.page_content, **one.metadata) for one in documents]
    return retrieval.format_passages(hits)
