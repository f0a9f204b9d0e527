"""Runs an application with what none may skip: input guard, deadline, output guard, trace and citations.

A complete answer is its collected stream. The output guard checks each sentence before it is sent."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import Any

from sluice.core.atomic_files import read_json
from sluice.core.errors import SluiceError
from sluice.core.extras import hooks
from sluice.guardrails.check import BoundedCache, Checks
from sluice.guardrails.checks.markup import links_of
from sluice.guardrails.guards import BROKEN
from sluice.llm.chat import ChatProvider, Messages
from sluice.prompts import ModelParameters
from sluice.retrieval import Search
from sluice.retrieval.index_files import PAGES, address_of
from sluice.serving.answer import Answer, Citation, ModelError, PromptPassage, RequestError
from sluice.serving.chat_model import ChatModel
from sluice.serving.contracts import built_application, start_answer, text_of
from sluice.serving.passage_retriever import PassageRetriever
from sluice.serving.release_parts import ReleaseBundle
from sluice.serving.request_state import CallerOptions, RequestState, enter_request
from sluice.serving.services import Services
from sluice.serving.telemetry import traces
from sluice.serving.telemetry.traces import record

# A sentence ends where white space follows its mark; no pattern of an output check may match across this. Where letters
# stand apart ("m e @ e x a m p l e . o r g") a mark between them ends nothing.
_END = re.compile(r"(?<!\s\S\s)[.!?…][\"'”’)\]]*(?=\s)")


class SentenceSplitter:
    """Cuts text into sentences that together are the whole; with `whole`, into one."""

    def __init__(self, *, whole: bool = False) -> None:
        self._open = ""
        self._whole = whole
        self._message: str | None = None

    def feed(self, piece: str, message: str | None = None) -> list[str]:
        """Return the sentences that this piece finishes; another `message` begins a paragraph.

        White space between two sentences belongs to the second."""
        if piece and message:
            self._open += "\n\n" if self._message not in (None, message) else ""
            self._message = message
        self._open += piece
        finished: list[str] = []
        while not self._whole and (match := _END.search(self._open)):
            finished.append(self._open[: match.end()])
            self._open = self._open[match.end() :]
        return finished

    def rest(self) -> str:
        rest, self._open = self._open, ""
        return rest


_ROLE = "chat"  # of config/providers.yaml: who is asked
_GRACE = 0.05  # seconds
_REMEMBERED = 1024  # verdicts on texts of documents
_TURNS, _CHARACTERS = 6, 2000  # of each: what was said before a question, that it is judged with
_WARM_UP = ({"role": "user", "content": "Is everything ready?"},)


class ApplicationRunner:
    """The application of a release, safe for concurrent questions: state of one answer is in its `RequestState`."""

    def __init__(self, bundle: ReleaseBundle, chat: ChatProvider, search: Search, guards: Checks) -> None:
        self._settings = bundle.service
        self._guards = guards
        self._whole = bundle.guardrails.whole_output
        self._model_name = bundle.model.stem
        model = ChatModel(
            provider=chat,
            model_name=bundle.model.stem,
            parameters=ModelParameters.model_validate({}),
            guards=guards,
            max_calls=bundle.service.llm.max_calls,
            longest=bundle.service.llm.max_shaped_tokens,
        )
        retriever = PassageRetriever(
            search=search,
            guards=guards,
            settings=bundle.service.retrieval,
            vets=bool(bundle.guardrails.passages),
        )
        small = _small_model(bundle, retriever)
        retriever = small.retriever if small else retriever
        self.services = Services(bundle, retriever, guards, {_ROLE: model}, small_model=small)
        self._pages = read_json(bundle.index / PAGES) if (bundle.index / PAGES).is_file() else {}
        self._quoted: BoundedCache[str] = BoundedCache(_REMEMBERED)
        self._application = built_application(bundle.application, self.services)

    async def answer(
        self, messages: Messages, *, tenant: str | None = None, options: CallerOptions | None = None
    ) -> Answer:
        async with aclosing(self.stream(messages, tenant=tenant, options=options)) as items:
            async for item in items:
                if isinstance(item, Answer):
                    return item
        raise ModelError("the answer ended without a result")

    async def stream(
        self, messages: Messages, *, tenant: str | None = None, options: CallerOptions | None = None
    ) -> AsyncGenerator[str | Answer, None]:
        """Yield the answer in pieces, then as a whole."""
        for name in sorted((options.names if options else frozenset()) - self.services.takes):
            raise RequestError(f"{name}: this application takes none of the caller's", param=name)
        request = self._request(messages, tenant, options=options)
        question = last_question(messages)
        request.trace.text("input", [{"role": "user", "content": question}])
        await self._check_input(question, request)
        for _ in range(0 if request.blocked else 2):  # once more where a check says so, and nothing was sent yet
            async with aclosing(self._attempt(request)) as pieces:
                async for piece in pieces:
                    yield request.sent(piece)
            if not request.refused:
                break
        if not request.text and (request.blocked or not request.asked):
            said = request.sent(request.instead())
            if not request.refusal:
                yield said
        answer = request.finish()
        quoted = [await self._quotable(citation) for citation in answer.citations]
        answer = replace(answer, citations=tuple(citation for citation in quoted if citation))
        record(request.trace, answer, request.said, self._model_name)
        yield answer

    async def warm_up(self) -> None:
        """Run every part once, so that the first caller doesn't pay for it."""
        request = self._request(_WARM_UP, None, warming=True)
        request.question = _WARM_UP[0]["content"]
        await self._guards.check_input(request.question)
        async with aclosing(self._attempt(request)) as pieces:
            async for piece in pieces:
                request.sent(piece)

    def _request(self, messages: Messages, tenant: str | None, **options: Any) -> RequestState:
        seconds = self._settings.llm.timeout_seconds
        return RequestState(messages, tenant, decline=self._settings.decline, seconds=seconds, **options)

    async def _check_input(self, question: str, request: RequestState) -> None:
        """Check the question, and calls that are said to be a model's; results of tools are checked as passages."""
        with request.trace.step(traces.GUARD_INPUT) as step:
            texts = [(question, said_before(request.messages))]
            texts += [(claim, ()) for claim in (request.options.claims if request.options else ())]
            for text, earlier in texts:
                verdict = await self._guards.check_input(text, earlier)
                step.verdict(verdict)
                if verdict.blocked:
                    request.block(verdict)
                    return
                request.question = request.question or verdict.text

    async def _attempt(self, request: RequestState) -> AsyncGenerator[str, None]:
        """Yield checked sentences, without white space around the whole."""
        sentences = SentenceSplitter(whole=self._whole or (request.options is not None and request.options.whole))
        again = bool(request.refused)
        enter_request(request)
        asked = {"messages": request.conversation, "question": request.question, "refused": request.refused}
        try:
            async with aclosing(start_answer(self._application, asked)) as pieces:
                # A tool, or code of the application, that hangs; a model is ended by its provider just before.
                while found := await request.in_time(_finished(pieces, sentences, request), _GRACE):
                    for sentence in found:
                        if piece := await self._checked(sentence, request):
                            yield piece
                        if request.blocked or bool(request.refused) is not again:
                            return
        finally:
            await request.close_replies()
        checked, rest = partial(self._checked, request=request), sentences.rest().rstrip()
        settled = partial(request.options.settle, request=request, check=checked) if request.options else checked
        if request.asked and (piece := await settled(rest)):
            yield piece

    async def _checked(self, sentence: str, request: RequestState) -> str:
        body = sentence.lstrip()
        with request.output_step as step:
            links = links_of(body, (hit.text for hit in request.hits))
            verdict = await self._guards.check_output(body, links)
            step.verdict(verdict)
        if verdict.blocked:
            if verdict.reask and not request.text and not request.refused:
                request.refused = verdict.reasons
            else:
                request.block(verdict)
            return ""
        gap = sentence[: len(sentence) - len(body)] if request.text else ""
        return gap + verdict.text if verdict.text else ""

    async def _quotable(self, citation: Citation) -> Citation | None:
        """Return the citation as the output guard lets it leave, or None. Nothing is replaced within a passage, as that
        would move the places."""
        passage = citation.passage
        links = links_of(passage.text, (passage.text,))
        title, text, whole = [await self._leaves(one, links) for one in (citation.title, citation.text, passage.text)]
        if whole != passage.text:
            passage = PromptPassage(passage.id, citation.start, text)
        address = address_of(self._pages, citation.document, citation.start)
        return replace(citation, title=title, passage=passage, address=address) if text == citation.text else None

    async def _leaves(self, text: str, links: tuple[str, ...]) -> str:
        if (known := self._quoted.get(text)) is not None:
            return known
        found = await self._guards.check_output(text, links)
        if BROKEN.isdisjoint(found.reasons):
            self._quoted[text] = found.text
        return found.text


def _small_model(bundle: ReleaseBundle, retriever: PassageRetriever) -> Any:
    wanted = ["small_model"] if bundle.service.small_model else []
    wanted += ["answers: spans"] if bundle.service.answers == "spans" else []
    if not wanted:
        return None
    if not (make := next(iter(hooks("small_model").values()), None)):
        raise SluiceError(
            f"config/service.yaml: {', '.join(wanted)}: the project has left out the extra `small_model`",
            remedy="take that out of the file; passages are then shown as they are",
        )
    return make(bundle, retriever)


async def _finished(pieces: AsyncGenerator[Any, None], sentences: SentenceSplitter, request: RequestState) -> list[str]:
    async for piece in pieces:
        if (text := text_of(piece)) is not None:
            request.asked = True
            # A graph may say something before it calls a tool, in a message of its own.
            if finished := sentences.feed(text, piece[0].id if isinstance(piece, tuple) else None):
                return finished
    return []


def said_before(messages: Messages) -> tuple[str, ...]:
    said = [message for message in messages if message["role"] in ("user", "assistant") and message["content"].strip()]
    last = max((place for place, message in enumerate(said) if message["role"] == "user"), default=0)
    return tuple(message["content"][:_CHARACTERS] for message in said[max(0, last - _TURNS) : last])


def last_question(messages: Messages) -> str:
    last = next((message for message in reversed(messages) if message["role"] == "user"), None)
    if last and (question := str(last["content"]).strip()):
        return question
    what = "the last user message is empty" if last else "there is no user message"
    raise RequestError(what, param="messages", code="no_question")
