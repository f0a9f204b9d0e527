"""The answer chain: input guard, condensed question, retrieval, prompt, model, output guard, citations.

There is one path: a whole answer is its stream, collected. The output guard sees each sentence before it is sent.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Protocol

from sluice.core.errors import SluiceError
from sluice.core.settings import nearest
from sluice.guardrails.guards import Outcome
from sluice.llm.chat import ChatProvider, Constrained, Delta
from sluice.llm.failures import Failure, ProviderError
from sluice.prompts import ModelParameters, Prompt
from sluice.retrieval import Hit, RetrievalError, format_passages
from sluice.serving.answer import Answer, ModelError, NoQuestionError, SearchError
from sluice.serving.condense import Condenser
from sluice.serving.sentences import Sentences, Whole
from sluice.serving.spans import grammar
from sluice.serving.telemetry import traces
from sluice.serving.telemetry.outcome import record
from sluice.serving.turn import Turn

if TYPE_CHECKING:
    from sluice.serving.bundle import Bundle

PROMPT = "answer"
_FILLED = frozenset({"question", "passages", "decline"})
CONDENSE = "condense"
_ROLE = "chat"  # of config/providers.yaml: who is asked
# To the model whose answer a check has refused.
_AGAIN = "\n\nYour first answer was refused by a check ({}). Answer again, without what it found."
_BETWEEN_WORDS = re.compile(r"[-_./]+")  # in the name of a file
_SEARCHES = 16  # side by side; what waits for the embedder at the same time is embedded together


class Search(Protocol):
    """Retrieval as the chain needs it; called in a thread."""

    def search(self, question: str, *, k: int, tenant: str | None = None) -> list[Hit]: ...


class Checks(Protocol):
    """The guards as the chain needs them."""

    async def check_input(self, text: str) -> Outcome: ...

    async def check_passage(self, text: str) -> Outcome: ...

    async def check_output(self, text: str) -> Outcome: ...


class AnswerChain:
    """Safe for concurrent questions: all state of one answer is in its `Turn`."""

    def __init__(self, bundle: Bundle, chat: ChatProvider, retriever: Search, guards: Checks) -> None:
        self._settings = bundle.service
        self._prompt = require_prompt(bundle)
        self._wanted = _require_variables(self._prompt)
        self._chat = chat
        self._retriever = retriever
        self._guards = guards
        self._vets = bool(bundle.guardrails.passages)
        self._whole = bundle.guardrails.whole_output
        self._model_name = bundle.model.stem
        self._condenser = _condenser(bundle, chat, guards)
        self._threads = ThreadPoolExecutor(_SEARCHES, thread_name_prefix="search")

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
        turn = Turn(self._settings.decline, self._settings.llm.timeout_seconds)
        question = last_question(messages)
        turn.trace.text("input", [{"role": "user", "content": question}])
        with turn.trace.step(traces.GUARD_INPUT) as step:
            verdict = await self._guards.check_input(question)
            step.verdict(verdict)
        if verdict.blocked:
            turn.block(verdict)
        else:
            question = await self._condensed(messages, verdict.text, turn)
            found = await self._retrieve(question, turn, tenant)
            turn.hits = await self._vetted(found, turn)
            if max((hit.similarity for hit in turn.hits), default=-1.0) >= self._settings.retrieval.min_similarity:
                async with aclosing(self._generate(question, turn)) as pieces:
                    async for piece in pieces:
                        yield turn.sent(piece)
        if not turn.text and (turn.blocked or not turn.asked):
            yield turn.sent(self._settings.decline)
        answer = turn.finish()
        record(turn.trace, answer, turn.said, self._model_name)
        yield answer

    async def warm_up(self) -> None:
        """Runs every part once, so that the first caller does not pay for it. Errors as for `answer`."""
        turn = Turn(self._settings.decline, self._settings.llm.timeout_seconds)
        question = "Is everything ready?"
        await self._guards.check_input(question)
        turn.hits = await self._retrieve(question, turn, None)
        async with aclosing(self._generate(question, turn)) as pieces:
            async for piece in pieces:
                turn.sent(piece)

    async def _condensed(self, messages: Sequence[Mapping[str, str]], question: str, turn: Turn) -> str:
        """The question as it stands alone. A first question is itself, and costs nothing."""
        if self._condenser is None or not (earlier := self._condenser.earlier(messages)):
            return question
        condensed = await self._condenser.condense(earlier, question, turn.trace, deadline=turn.deadline)
        turn.condensed = condensed.said
        return condensed.question

    async def _retrieve(self, question: str, turn: Turn, tenant: str | None) -> list[Hit]:
        k = self._settings.retrieval.k
        with turn.trace.step(traces.RETRIEVE) as step:
            step.text("query", question)
            try:
                async with turn.in_time():
                    search = partial(self._retriever.search, question, k=k, tenant=tenant)
                    hits = await asyncio.get_running_loop().run_in_executor(self._threads, search)
            except RetrievalError as error:
                raise SearchError(f"the search failed: {error.message}") from error
            step.hits(hits)
            return hits

    async def _vetted(self, hits: list[Hit], turn: Turn) -> list[Hit]:
        """The passages that may be quoted to the model. Their text, title and file name are data, and are checked."""
        if not self._vets:
            return hits
        kept = []
        with turn.trace.step(traces.GUARD_PASSAGES) as step:
            for hit in hits:
                name = _BETWEEN_WORDS.sub(" ", hit.doc_id)
                verdict = await self._guards.check_passage(f"{name}\n{hit.title}\n{hit.text}")
                step.verdict(verdict)
                if not verdict.blocked:
                    kept.append(hit)
        return kept

    async def _generate(self, question: str, turn: Turn) -> AsyncGenerator[str, None]:
        """Checked sentences of the model's answer, without white space around the whole. Where a check says so, and
        nothing was sent yet, the model is asked once more."""
        turn.asked = True
        async with aclosing(self._attempt(question, turn)) as pieces:
            async for piece in pieces:
                yield piece
        if turn.refused:
            async with aclosing(self._attempt(question, turn)) as pieces:
                async for piece in pieces:
                    yield piece

    async def _attempt(self, question: str, turn: Turn) -> AsyncGenerator[str, None]:
        sentences = Whole() if self._whole else Sentences()
        again = bool(turn.refused)
        async with turn.trace.step(traces.CHAT), aclosing(self._model_chunks(question, turn)) as chunks:
            async for delta in chunks:
                turn.count(delta)
                for sentence in sentences.feed(delta.text):
                    if piece := await self._checked(sentence, turn):
                        yield piece
                    if turn.blocked or bool(turn.refused) is not again:
                        return
        if piece := await self._checked(sentences.rest().rstrip(), turn):
            yield piece

    async def _checked(self, sentence: str, turn: Turn) -> str:
        body = sentence.lstrip()
        with turn.guard_output() as step:
            verdict = await self._guards.check_output(body)
            step.verdict(verdict)
        if verdict.blocked:
            if verdict.reask and not turn.text and not turn.refused:
                turn.refused = verdict.reasons
            else:
                turn.block(verdict)
            return ""
        gap = sentence[: len(sentence) - len(body)] if turn.text else ""
        return gap + verdict.text if verdict.text else ""

    async def _model_chunks(self, question: str, turn: Turn) -> AsyncGenerator[Delta, None]:
        with turn.trace.step(traces.PROMPT) as step:
            values = {
                "question": question,
                "passages": format_passages(turn.hits),
                "decline": self._settings.decline,
            }
            prompt = self._prompt.render(**{name: values[name] for name in self._wanted})
            if turn.refused:
                prompt[-1] = {**prompt[-1], "content": prompt[-1]["content"] + _AGAIN.format(", ".join(turn.refused))}
            step.text("input", prompt)
        # The provider keeps the deadline, and only while it is waited for: a slow reader is not cut off.
        stream = self._chat.stream(prompt, self._parameters(turn.hits), deadline=turn.deadline)
        try:
            async with aclosing(stream):
                async for delta in stream:
                    yield delta
        except ProviderError as error:
            if error.failure is Failure.DEADLINE:
                raise turn.late() from error
            failed = ModelError(f"the model gave no answer: {error}")
            failed.retry_after = error.retry_after
            raise failed from error
        except Exception as error:
            raise ModelError(f"the model gave no answer: {type(error).__name__}: {error}") from error

    def _parameters(self, hits: Sequence[Hit]) -> ModelParameters:
        plain = self._prompt.parameters
        if self._settings.answers == "any":
            return plain
        allowed = grammar([hit.text for hit in hits], self._settings.decline)
        return Constrained.model_validate({**plain.model_dump(by_alias=True), "grammar": allowed})


def require_prompt(bundle: Bundle, name: str = PROMPT) -> Prompt:
    """A prompt that the chain uses; SluiceError when the release has none, or it names a role that is not asked."""
    if name not in bundle.prompts:
        raise SluiceError(
            f"release {bundle.release}: it has no prompt {name!r}", remedy=f"add prompts/{name}.prompt.yml"
        )
    prompt = bundle.prompts[name]
    if prompt.model != _ROLE:
        raise SluiceError(
            f"prompts/{name}.prompt.yml: model: the service asks {_ROLE!r}, not {prompt.model!r}",
            remedy=f"write model: {_ROLE}",
        )
    return prompt


def _require_variables(prompt: Prompt) -> frozenset[str]:
    """Those of the variables that the chain fills which the prompt uses. SluiceError when it wants another one, or has
    no place for the question; doing without the others is for an evaluation to judge."""
    wanted = frozenset(variable.name for variable in prompt.variables)
    for name in sorted(wanted - _FILLED):
        raise SluiceError(
            f"prompts/{prompt.name}.prompt.yml: variables: nothing fills {name!r}{nearest(name, sorted(_FILLED))}",
            remedy=f"the answer chain fills {', '.join(sorted(_FILLED))}",
        )
    if "question" not in wanted:
        raise SluiceError(
            f"prompts/{prompt.name}.prompt.yml: no message holds {{{{question}}}}",
            remedy="add it, or nobody knows what was asked",
        )
    return wanted


def _condenser(bundle: Bundle, chat: ChatProvider, guards: Checks) -> Condenser | None:
    settings = bundle.service.condense
    if settings is None or not settings.enabled:
        return None
    return Condenser(require_prompt(bundle, CONDENSE), settings, chat, guards, bundle.model.stem)


def last_question(messages: Sequence[Mapping[str, str]]) -> str:
    """The last user message, stripped. NoQuestionError when there is none or it is empty."""
    for message in reversed(messages):
        if message["role"] == "user":
            if message["content"].strip():
                return message["content"].strip()
            raise NoQuestionError("the last user message is empty")
    raise NoQuestionError("there is no user message")
