"""Doubles for the tests of an application: a scripted model, a scripted search, and a small release made of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sluice.guardrails.guards import Guards
from sluice.guardrails.guards import NoChecks as NoChecks
from sluice.guardrails.settings import GuardrailSettings
from sluice.llm.chat import ChatProvider, Delta, FinishReason, Messages, Usage
from sluice.llm.provider_failures import FailureKind, ProviderError
from sluice.llm.settings import Providers
from sluice.prompts import ModelParameters, Prompt
from sluice.retrieval import Hit
from sluice.serving.release_parts import ReleaseBundle
from sluice.serving.runner import ApplicationRunner
from sluice.serving.settings import ServiceSettings


class ScriptMissError(AssertionError):
    """The test asked for something that its script doesn't hold."""


@dataclass
class ScriptedChat:
    """Answers with the reply of the one script key that occurs in the last message.

    A reply with `tool_calls` is a Delta; an exception is raised. Pieces are `piece` characters long, `delay` seconds
    apart; the connection breaks after `fail_after` of them, and the last one waits until the file `gate` exists.
    `calls` records the requests, `sent` the pieces; `closed` counts streams that were left before their end.
    """

    script: Mapping[str, str | Delta | Exception]
    piece: int = 4
    delay: float = 0.0
    fail_after: int | None = None
    finish_reason: FinishReason = "stop"
    gate: Path | None = None
    calls: list[dict[str, Any]] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)
    closed: int = 0

    def _reply(self, messages: Messages, parameters: ModelParameters) -> str | Delta:
        asked = [(message["role"], message["content"]) for message in messages]
        self.calls.append({"messages": asked, **parameters.model_dump()})
        keys = [key for key in self.script if key in asked[-1][1]]
        if len(keys) != 1:
            raise ScriptMissError(f"{len(keys)} script keys occur in {asked[-1]}; the script holds {list(self.script)}")
        reply = self.script[keys[0]]
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def stream(
        self, messages: Messages, parameters: ModelParameters, *, deadline: float
    ) -> AsyncGenerator[Delta, None]:
        reply = self._reply(messages, parameters)
        if isinstance(reply, Delta):
            yield reply
            yield Delta(finish_reason="tool_calls", usage=Usage(11, 1))
            return
        try:
            for number, start in enumerate(range(0, len(reply), self.piece)):
                try:
                    async with asyncio.timeout_at(deadline):
                        await asyncio.sleep(self.delay)
                        while self.gate and start + self.piece >= len(reply) and not self.gate.exists():
                            await asyncio.sleep(0.02)
                except TimeoutError:
                    raise ProviderError(FailureKind.DEADLINE, "the script is slower than the deadline") from None
                if number == self.fail_after:
                    raise ConnectionError("the scripted connection broke")
                self.sent.append(reply[start : start + self.piece])
                yield Delta(self.sent[-1])
            yield Delta(finish_reason=self.finish_reason, usage=Usage(11, len(reply.split())))
        except (GeneratorExit, asyncio.CancelledError):
            self.closed += 1
            raise


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
        "llm": {"threads": 1, "slots": 2, "context": 2048, "timeout_seconds": 600},
        "limits": {"max_body_bytes": 4096, "max_concurrent": 4},
        "drain_seconds": 60,
    }
    return ServiceSettings.model_validate(document | changes)


GUARDRAILS = GuardrailSettings.model_validate(
    {
        "timeout_seconds": 60,
        "input": [{"check": "injection", "action": "block"}, {"check": "personal_data", "action": "redact"}],
        "output": [{"check": "secrets", "action": "block"}, {"check": "personal_data", "action": "redact"}],
    }
)


def scripted_guards() -> Guards:
    """The guards of `scripted_bundle`; none of them needs a model."""
    return Guards(GUARDRAILS)


def provider_entry(**changes: Any) -> dict[str, Any]:
    """An entry of config/providers.yaml, with the numbers that tests mostly want."""
    return {
        "name": "local",
        "kind": "local",
        "model": "chat",
        "timeouts": {"connect": 60, "queue": 60, "first_token": 600},
        "retries": 0,
        "max_concurrency": 8,
        "breaker": {"window": 20, "failures": 10, "open_seconds": 600},
        "prices": {"input": 0, "output": 0},
        **changes,
    }


PROVIDERS = Providers.model_validate(
    {"chat": [provider_entry()], "judge": [], "embed": [{"name": "local", "kind": "local", "model": "embed"}]}
)


def scripted_bundle(**service: Any) -> ReleaseBundle:
    """A release whose files don't exist; `service` changes its service settings."""
    return ReleaseBundle(
        release="r-0123456789ab",
        prompts={"answer": _prompt()},
        index=Path("index"),
        adapter=None,
        model=Path("model.gguf"),
        embedder=Path("embedder.gguf"),
        service=service_settings(**service),
        guardrails=GUARDRAILS,
        providers=PROVIDERS,
        manifest={"id": "r-0123456789ab", "parent": None},
    )


def run_application(
    chat: ChatProvider, search: ScriptedRetriever, *, guards: Any = None, bundle: ReleaseBundle | None = None
) -> ApplicationRunner:
    """Return the application as the engine runs it, over doubles: `await run_application(…).answer(messages)`.

    Args:
        chat: the model.
        search: the search.
        guards: None lets everything pass.
        bundle: the release; None: `scripted_bundle()`.
    """
    return ApplicationRunner(bundle or scripted_bundle(), chat, search, guards or NoChecks())
