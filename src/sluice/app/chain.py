"""The answer chain: input guard, retrieval, prompt, model, output guard, citations.

There is one path: a whole answer is its stream, collected. The output guard sees each sentence before it is sent.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any, Literal, Protocol

from sluice.app.answer import Answer, ModelError, ModelTimeoutError, NoQuestionError, Usage
from sluice.app.citations import cite, words
from sluice.app.sentences import Sentences
from sluice.core.errors import SluiceError
from sluice.guardrails import Outcome
from sluice.prompts import ModelParameters, Prompt
from sluice.retrieval import Hit, format_passages

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import AIMessageChunk

    from sluice.app.bundle import Bundle

PROMPT = "answer"


class Search(Protocol):
    """Retrieval as the chain needs it; called in a thread."""

    def search(self, question: str, *, k: int, tenant: str | None = None) -> list[Hit]: ...


class Checks(Protocol):
    """The guards as the chain needs them."""

    async def check_input(self, text: str) -> Outcome: ...

    async def check_output(self, text: str) -> Outcome: ...


class AnswerChain:
    """Safe for concurrent questions: all state of one answer is in its `_Turn`."""

    def __init__(self, bundle: Bundle, chat: BaseChatModel, retriever: Search, guards: Checks) -> None:
        self._settings = bundle.service
        self._prompt = require_prompt(bundle)
        self._model = chat.bind(**_call_parameters(self._prompt.parameters))
        self._retriever = retriever
        self._guards = guards

    async def answer(self, messages: Sequence[Mapping[str, str]], *, tenant: str | None = None) -> Answer:
        """The whole answer. Raises NoQuestionError, ModelError or ModelTimeoutError."""
        async with aclosing(self.stream(messages, tenant=tenant)) as items:
            async for item in items:
                if isinstance(item, Answer):
                    return item
        raise ModelError("the answer ended without a result")

    async def stream(
        self, messages: Sequence[Mapping[str, str]], *, tenant: str | None = None
    ) -> AsyncGenerator[str | Answer, None]:
        """Pieces of text that add up to the text of the Answer, which comes last. Errors as for `answer`.

        `tenant`: whose documents may be used beside those for everybody."""
        turn = _Turn(self._settings.decline, self._settings.llm.timeout_seconds)
        verdict = await self._guards.check_input(last_question(messages))
        if verdict.blocked:
            turn.block(verdict)
        else:
            turn.hits = await self._retrieve(verdict.text, turn, tenant)
            if max((hit.similarity for hit in turn.hits), default=-1.0) >= self._settings.retrieval.min_similarity:
                async with aclosing(self._generate(verdict.text, turn)) as pieces:
                    async for piece in pieces:
                        yield turn.sent(piece)
        if not turn.text and (turn.blocked or not turn.asked):
            yield turn.sent(self._settings.decline)
        yield turn.finish()

    async def warm_up(self) -> None:
        """Runs every part once, so that the first caller does not pay for it. Errors as for `answer`."""
        turn = _Turn(self._settings.decline, self._settings.llm.timeout_seconds)
        question = "Is everything ready?"
        await self._guards.check_input(question)
        turn.hits = await self._retrieve(question, turn, None)
        async with aclosing(self._generate(question, turn)) as pieces:
            async for piece in pieces:
                turn.sent(piece)

    async def _retrieve(self, question: str, turn: _Turn, tenant: str | None) -> list[Hit]:
        async with turn.in_time():
            k = self._settings.retrieval.k
            return await asyncio.to_thread(self._retriever.search, question, k=k, tenant=tenant)

    async def _generate(self, question: str, turn: _Turn) -> AsyncGenerator[str, None]:
        """Checked sentences of the model's answer, without white space around the whole."""
        turn.asked = True
        sentences = Sentences()
        async with aclosing(self._model_chunks(question, turn)) as chunks:
            async for chunk in chunks:
                turn.count(chunk)
                for sentence in sentences.feed(str(chunk.text)):
                    if piece := await self._checked(sentence, turn):
                        yield piece
                    if turn.blocked:
                        return
        if piece := await self._checked(sentences.rest().rstrip(), turn):
            yield piece

    async def _checked(self, sentence: str, turn: _Turn) -> str:
        body = sentence.lstrip()
        verdict = await self._guards.check_output(body)
        if verdict.blocked:
            turn.block(verdict)
            return ""
        gap = sentence[: len(sentence) - len(body)] if turn.text else ""
        return gap + verdict.text if verdict.text else ""

    async def _model_chunks(self, question: str, turn: _Turn) -> AsyncGenerator[AIMessageChunk, None]:
        prompt = self._prompt.render(
            question=question, passages=format_passages(turn.hits), decline=self._settings.decline
        )
        stream: Any = self._model.astream(prompt)
        async with aclosing(stream):
            while True:
                # The clock runs only while the model is waited for: a slow reader must not be cancelled from here.
                try:
                    async with turn.in_time():
                        chunk = await anext(stream, None)
                except ModelError:
                    raise
                except Exception as error:
                    raise ModelError(f"the model gave no answer: {type(error).__name__}: {error}") from error
                if chunk is None:
                    return
                yield chunk


class _Turn:
    """What one answer has come to so far."""

    def __init__(self, decline: str, seconds: float) -> None:
        self._decline = decline
        self._seconds = seconds
        self._started = time.perf_counter()
        self._deadline = asyncio.get_running_loop().time() + seconds
        self._ttft_ms: float | None = None
        self._usage = Usage(0, 0)
        self._cut = False
        self.text = ""
        self.hits: list[Hit] = []
        self.asked = False
        self.blocked: str | None = None

    @asynccontextmanager
    async def in_time(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout_at(self._deadline):
                yield
        except TimeoutError:
            raise ModelTimeoutError(f"no whole answer within {self._seconds:g} s") from None

    def block(self, verdict: Outcome) -> None:
        self.blocked = ", ".join(verdict.reasons)

    def sent(self, piece: str) -> str:
        if self._ttft_ms is None:
            self._ttft_ms = self._elapsed()
        self.text += piece
        return piece

    def count(self, chunk: AIMessageChunk) -> None:
        """Usage arrives in a late chunk, not necessarily the last: the chunks are added up."""
        if used := chunk.usage_metadata:
            self._usage = Usage(
                self._usage.prompt_tokens + used["input_tokens"], self._usage.completion_tokens + used["output_tokens"]
            )
        self._cut = self._cut or chunk.response_metadata.get("finish_reason") == "length"

    def finish(self) -> Answer:
        declined = words(self.text) == words(self._decline)
        reason: Literal["stop", "length", "content_filter"] = "length" if self._cut else "stop"
        return Answer(
            text=self.text,
            declined=declined,
            blocked=self.blocked,
            citations=() if declined or self.blocked else cite(self.text, self.hits),
            hits=tuple(self.hits),
            usage=self._usage,
            finish_reason="content_filter" if self.blocked else reason,
            ttft_ms=self._ttft_ms,
            latency_ms=self._elapsed(),
        )

    def _elapsed(self) -> float:
        return (time.perf_counter() - self._started) * 1000


def require_prompt(bundle: Bundle) -> Prompt:
    """The prompt that questions are answered with; SluiceError when the release has none."""
    if PROMPT not in bundle.prompts:
        raise SluiceError(
            f"release {bundle.release}: it has no prompt {PROMPT!r}", remedy=f"add prompts/{PROMPT}.prompt.yml"
        )
    return bundle.prompts[PROMPT]


def last_question(messages: Sequence[Mapping[str, str]]) -> str:
    """The last user message; what was said before it is not used. NoQuestionError when there is none or it is empty."""
    for message in reversed(messages):
        if message["role"] == "user":
            if message["content"].strip():
                return message["content"].strip()
            raise NoQuestionError("the last user message is empty")
    raise NoQuestionError("there is no user message")


def _call_parameters(parameters: ModelParameters) -> dict[str, Any]:
    values = parameters.model_dump(exclude={"stop"})
    return {**values, "stop": list(parameters.stop)} if parameters.stop else values
