"""What the engine gives an application: models by role, search, guards, prompts, settings, tools."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from sluice.core.errors import SluiceError
from sluice.core.settings import nearest
from sluice.llm.chat import ChatProvider, Delta, Messages
from sluice.llm.provider_failures import FailureKind, ProviderError
from sluice.prompts import ModelParameters, Prompt
from sluice.retrieval import Hit, RetrievalError
from sluice.serving.answer import ModelError, SearchError
from sluice.serving.contracts import Checks, Search
from sluice.serving.release_parts import ReleaseBundle, require_prompt
from sluice.serving.request_state import RequestState
from sluice.serving.settings import ServiceSettings
from sluice.serving.telemetry import traces
from sluice.serving.telemetry.trace_outcome import record_call

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool

_BETWEEN_WORDS = re.compile(r"[-_./]+")  # in the name of a file
_SEARCHES = 16  # side by side; what waits for the embedder at the same time is embedded together


class ChatModel:
    """The models of a role as one, with retries and fallback inside."""

    def __init__(self, provider: ChatProvider, name: str) -> None:
        self._provider = provider
        self._name = name

    async def stream(
        self,
        request: RequestState,
        messages: Messages,
        parameters: ModelParameters,
        *,
        step: traces.TraceStep | None = None,
    ) -> AsyncGenerator[Delta, None]:
        """The pieces of a model's reply, within the deadline of the request.

        Args:
            request: for whom the model is asked.
            messages: what it is asked.
            parameters: of the prompt.
            step: where the call is noted when it prepares the answer; without one it gives the answer, and has the
                step `chat`.

        Raises:
            ModelError: there is no whole reply; ModelTimeoutError: not in time.
        """
        if step is None:
            async with request.trace.step(traces.CHAT), aclosing(self._asked(request, messages, parameters)) as deltas:
                async for delta in deltas:
                    yield delta
            return
        async with aclosing(self._asked(request, messages, parameters)) as deltas:
            async for delta in deltas:
                if delta.finish_reason is not None:
                    request.calls.append(delta)
                    record_call(step, delta, self._name)
                yield delta

    async def _asked(
        self, request: RequestState, messages: Messages, parameters: ModelParameters
    ) -> AsyncGenerator[Delta, None]:
        # The provider keeps the deadline, and only while it is waited for: a slow reader is not cut off.
        stream = self._provider.stream(messages, parameters, deadline=request.deadline)
        try:
            async with aclosing(stream):
                async for delta in stream:
                    yield delta
        except ProviderError as error:
            late = error.failure is FailureKind.DEADLINE
            failed = request.late() if late else ModelError(f"the model gave no answer: {error}")
            failed.retry_after, failed.failure = error.retry_after, error.failure.value
            raise failed from error
        except Exception as error:
            failed = ModelError(f"the model gave no answer: {type(error).__name__}: {error}")
            failed.failure = type(error).__name__
            raise failed from error


class PassageRetriever:
    """The search of the release, for the tenant who asks. What it gives may be quoted to a model: the guards have
    looked at the text, the title and the file name of each passage."""

    def __init__(self, bundle: ReleaseBundle, search: Search, guards: Checks) -> None:
        self._settings = bundle.service.retrieval
        self._vets = bool(bundle.guardrails.passages)
        self._search = search
        self._guards = guards
        self._threads = ThreadPoolExecutor(_SEARCHES, thread_name_prefix="search")

    async def search(self, request: RequestState, question: str) -> list[Hit]:
        """The best passages, and none where even the best is further away than `retrieval.min_similarity`.

        Raises:
            SearchError: the search failed; ModelTimeoutError: the deadline has passed.
        """
        hits = await self._found(request, question)
        if request.warming:
            return hits
        hits = await self._vetted(request, hits)
        request.found(hits)
        near = max((hit.similarity for hit in hits), default=-1.0) >= self._settings.min_similarity
        return hits if near else []

    async def _found(self, request: RequestState, question: str) -> list[Hit]:
        with request.trace.step(traces.RETRIEVE) as step:
            step.text("query", question)
            try:
                async with request.in_time():
                    search = partial(self._search.search, question, k=self._settings.k, tenant=request.tenant)
                    hits = await asyncio.get_running_loop().run_in_executor(self._threads, search)
            except RetrievalError as error:
                raise SearchError(f"the search failed: {error.message}") from error
            step.hits(hits)
            return hits

    async def _vetted(self, request: RequestState, hits: list[Hit]) -> list[Hit]:
        if not self._vets:
            return hits
        kept = []
        with request.trace.step(traces.GUARD_PASSAGES) as step:
            for hit in hits:
                name = _BETWEEN_WORDS.sub(" ", hit.doc_id)
                verdict = await self._guards.check_passage(f"{name}\n{hit.title}\n{hit.text}")
                step.verdict(verdict)
                if not verdict.blocked:
                    kept.append(hit)
        return kept


@dataclass(frozen=True)
class Services:
    """What `build(services)` of an application may use.

    Attributes:
        settings: config/service.yaml of the release.
        prompts: the prompts of the release, by name; `prompt` also checks one.
        retriever: the search.
        guards: the guards, for texts that reach a model beside the question and the passages.
        models: the models by role; `chat` gives one.
    """

    bundle: ReleaseBundle
    retriever: PassageRetriever
    guards: Checks
    models: Mapping[str, ChatModel]

    @property
    def settings(self) -> ServiceSettings:
        return self.bundle.service

    @property
    def prompts(self) -> Mapping[str, Prompt]:
        return self.bundle.prompts

    @cached_property
    def tools(self) -> Mapping[str, BaseTool]:
        """The functions with `@tool`, as LangChain's tools, by name."""
        from sluice.serving.tools import langchain_tools

        return langchain_tools()

    def chat(self, role: str = "chat") -> ChatModel:
        """The models of a role of config/providers.yaml; SluiceError when the service opens none of that name."""
        if role not in self.models:
            known = list(self.models)
            raise SluiceError(
                f"the service opens no models of the role {role!r}{nearest(role, known)}",
                remedy=f"use {' or '.join(known)}",
            )
        return self.models[role]

    def prompt(self, name: str, *, fills: Sequence[str], needs: Sequence[str] = ()) -> Prompt:
        """A prompt of the release.

        Args:
            name: prompts/<name>.prompt.yml.
            fills: the variables that the application has values for.
            needs: those that a message must hold.

        Returns:
            The prompt.

        Raises:
            SluiceError: there is no such prompt, its role is not `chat`, or its variables are others.
        """
        prompt = require_prompt(self.bundle, name)
        wanted = {variable.name for variable in prompt.variables}
        for variable in sorted(wanted - set(fills)):
            raise SluiceError(
                f"prompts/{name}.prompt.yml: variables: nothing fills {variable!r}{nearest(variable, sorted(fills))}",
                remedy=f"the application fills {', '.join(sorted(fills))}",
            )
        for variable in sorted(set(needs) - wanted):
            raise SluiceError(
                f"prompts/{name}.prompt.yml: no message holds {{{{{variable}}}}}",
                remedy="add it, or the question never reaches the model",
            )
        return prompt


def render(request: RequestState, prompt: Prompt, **values: Any) -> list[dict[str, str]]:
    """The messages of a prompt; noted in the trace.

    Args:
        request: whose trace it is.
        prompt: the prompt.
        values: for its variables; those that it does not use are left out.

    Returns:
        Messages with `role` and `content`.
    """
    with request.trace.step(traces.PROMPT) as step:
        wanted = {variable.name for variable in prompt.variables}
        messages = prompt.render(**{name: value for name, value in values.items() if name in wanted})
        step.text("input", messages)
        return messages
