"""A scripted chat model, a scripted retriever, and a small release made of them.

A question that is not in the script is an error, not a guess. `run_service` is a whole service process around them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from pydantic import ConfigDict, Field

from sluice.app.answer import Answer, Usage
from sluice.app.api import create_app
from sluice.app.auth import KeyRing
from sluice.app.bundle import Bundle
from sluice.app.chain import AnswerChain, last_question
from sluice.app.citations import cite
from sluice.app.feedback import FeedbackLog
from sluice.app.middleware import Traffic
from sluice.app.server import listen
from sluice.app.settings import ServiceSettings
from sluice.guardrails import GuardrailSettings, Outcome
from sluice.prompts import Prompt
from sluice.retrieval import Hit


class ScriptMissError(AssertionError):
    """The test asked for something that its script does not hold."""


class ScriptedChat(BaseChatModel):
    """Answers with the reply of the one script key that occurs in the last message.

    A reply that is an exception is raised; with `fail_after` set, after that many pieces. `calls` records what was
    asked and with which parameters, `sent` the pieces that were given out. Pieces are `piece` characters long, `delay`
    seconds apart.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    script: Mapping[str, str | Exception]
    piece: int = 4
    delay: float = 0.0
    fail_after: int | None = None
    finish_reason: str = "stop"
    calls: list[dict[str, Any]] = Field(default_factory=list)
    sent: list[str] = Field(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def _reply(self, messages: Sequence[BaseMessage], stop: list[str] | None, parameters: dict[str, Any]) -> str:
        self.calls.append({"messages": [(m.type, m.text) for m in messages], "stop": stop, **parameters})
        asked = str(messages[-1].text)
        keys = [key for key in self.script if key in asked]
        if len(keys) != 1:
            raise ScriptMissError(f"{len(keys)} script keys occur in {asked!r}; the script holds {list(self.script)}")
        reply = self.script[keys[0]]
        if isinstance(reply, Exception):
            raise reply
        return reply

    def _pieces(self, reply: str) -> Iterator[ChatGenerationChunk]:
        for number, start in enumerate(range(0, len(reply), self.piece)):
            if number == self.fail_after:
                raise ConnectionError("the scripted connection broke")
            self.sent.append(reply[start : start + self.piece])
            yield ChatGenerationChunk(message=AIMessageChunk(content=self.sent[-1]))
        usage = {"input_tokens": 11, "output_tokens": len(reply.split())}
        usage["total_tokens"] = sum(usage.values())
        end = {"finish_reason": self.finish_reason}
        yield ChatGenerationChunk(message=AIMessageChunk(content="", response_metadata=end))
        yield ChatGenerationChunk(message=AIMessageChunk(content="", usage_metadata=usage))

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002 - the signature of LangChain
        **kwargs: Any,
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage(content=self._reply(messages, stop, kwargs)))])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002 - the signature of LangChain
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        for chunk in self._pieces(self._reply(messages, stop, kwargs)):
            time.sleep(self.delay)
            yield chunk

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,  # noqa: ARG002 - the signature of LangChain
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in self._pieces(self._reply(messages, stop, kwargs)):
            await asyncio.sleep(self.delay)
            yield chunk


def hit(text: str, *, similarity: float = 0.9, doc_id: str = "doc", title: str = "Title") -> Hit:
    """A hit for tests; its chunk id is made from the document id."""
    return Hit(
        chunk_id=f"{doc_id}-0", doc_id=doc_id, title=title, text=text, score=similarity / 2, similarity=similarity
    )


class ScriptedRetriever:
    """Gives the hits of the script key that equals the question; `asked` records (question, k)."""

    def __init__(self, script: Mapping[str, Sequence[Hit]]) -> None:
        self.script = script
        self.asked: list[tuple[str, int]] = []
        self.tenants: list[str | None] = []

    def search(self, question: str, *, k: int, tenant: str | None = None) -> list[Hit]:
        self.asked.append((question, k))
        self.tenants.append(tenant)
        if question not in self.script:
            raise ScriptMissError(f"no hits are scripted for {question!r}; the script holds {list(self.script)}")
        return list(self.script[question])[:k]


DECLINE = "The handbook does not say."
CHUNKS = "Neighbouring chunks share 64 tokens. Longer overlaps cost storage."
HITS = {
    "How much overlap do chunks have?": [
        hit(CHUNKS, doc_id="chunking", title="Chunking"),
        hit("Of costs.", doc_id="cost"),
    ],
    "What is the capital of Peru?": [hit(CHUNKS, similarity=0.1, doc_id="chunking")],
    "Who answers for this?": [hit("The owner is listed.", doc_id="owners")],
}
REPLIES: dict[str, str | Exception] = {
    "overlap": "64 tokens",
    "Who answers": "  Write to owner@example.org. Or call +1 555 123 4567! That is all.\n",
}


def _prompt() -> Prompt:
    return Prompt.model_validate(
        {
            "name": "answer",
            "description": "for tests",
            "model": "chat",
            "modelParameters": {"temperature": 0.5, "maxTokens": 7, "seed": 3, "stop": ["END"]},
            "messages": [
                {"role": "system", "content": "Else say: {{decline}}"},
                {"role": "user", "content": "{{passages}}\n\nQuestion: {{question}}"},
            ],
            "variables": [{"name": "passages"}, {"name": "question"}, {"name": "decline"}],
        }
    )


def service_settings(**changes: Any) -> ServiceSettings:
    document: dict[str, Any] = {
        "decline": DECLINE,
        "retrieval": {"k": 3, "min_similarity": 0.25},
        "llm": {"threads": 1, "slots": 2, "context": 2048, "timeout_seconds": 5},
        "limits": {"max_body_bytes": 4096, "max_concurrent": 4},
        "drain_seconds": 5,
    }
    return ServiceSettings.model_validate(document | changes)


GUARDRAILS = GuardrailSettings.model_validate(
    {
        "input": [{"check": "injection", "action": "block"}, {"check": "personal_data", "action": "redact"}],
        "output": [{"check": "secrets", "action": "block"}, {"check": "personal_data", "action": "redact"}],
    }
)


def scripted_bundle(**service: Any) -> Bundle:
    """A release whose files do not exist; `service` changes its service settings."""
    return Bundle(
        release="r-0123456789ab",
        prompts={"answer": _prompt()},
        index=Path("index"),
        adapter=None,
        model=Path("model.gguf"),
        embedder=Path("embedder.gguf"),
        service=service_settings(**service),
        guardrails=GUARDRAILS,
        manifest={"id": "r-0123456789ab", "parent": None},
    )


class NoChecks:
    """Guards that let everything pass, for tests that are not about guards."""

    async def check_input(self, text: str) -> Outcome:
        return Outcome(text, False, ())

    async def check_output(self, text: str) -> Outcome:
        return Outcome(text, False, ())


def run_service(port: int, chat: ScriptedChat, *, state: str = "", **service: Any) -> None:
    """Serves the scripted release on loopback until it has drained; for child processes of tests.

    `state`: a folder for feedback and, in keys.json, keys."""
    bundle, traffic = scripted_bundle(**service), Traffic()
    chain = AnswerChain(bundle, chat, ScriptedRetriever(HITS), NoChecks())
    keys = KeyRing(Path(state) / "keys.json") if state else None
    feedback = FeedbackLog(Path(state) / "feedback") if state else None
    app = create_app(bundle, chain, traffic, keys=keys, feedback=feedback)
    seconds = bundle.service.drain_seconds
    listen(app, traffic, "127.0.0.1", port, drain_seconds=seconds, notice_seconds=bundle.service.notice_seconds)


class StubChain:
    """Answers every question that has words, without model or search; for tests that are about HTTP."""

    async def answer(self, messages: Sequence[Mapping[str, str]], *, tenant: str | None = None) -> Answer:
        last = [item async for item in self.stream(messages, tenant=tenant)][-1]
        assert isinstance(last, Answer)
        return last

    async def stream(
        self,
        messages: Sequence[Mapping[str, str]],
        *,
        tenant: str | None = None,  # noqa: ARG002 - the signature of the chain
    ) -> AsyncGenerator[str | Answer, None]:
        last_question(messages)
        hits = (hit(CHUNKS, doc_id="chunking", title="Chunking"),)
        yield "64 tokens"
        yield Answer(
            text="64 tokens",
            declined=False,
            blocked=None,
            citations=cite("64 tokens", hits),
            hits=hits,
            usage=Usage(11, 2),
            finish_reason="stop",
            ttft_ms=1.0,
            latency_ms=1.0,
        )
