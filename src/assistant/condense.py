"""Makes a question that stands alone out of a conversation, by the prompt `condense`: `How long is it?` finds nothing.

Enabled by `condense` of config/service.yaml, and used only when the conversation has earlier questions. On any failure
the last question is used unchanged: a worse answer to a follow-up is better than none.
"""

from __future__ import annotations

import asyncio
import logging

from langchain_core.messages import AIMessage

from sluice.extend import Messages, ModelError, RequestState, Services, TraceStep

STEP = "condense"  # of the prompt, and of the trace
_log = logging.getLogger(__name__)
_SPEAKERS = {"user": "User", "assistant": "Assistant"}


class Condenser:
    """Safe for concurrent questions. SluiceError when the prompt wants other variables than history and question."""

    def __init__(self, services: Services) -> None:
        assert services.settings.condense is not None
        self._settings = services.settings.condense
        self._prompt = services.prompt(STEP, fills=("history", "question"), needs=("history", "question"))
        self._chat = services.chat("chat", self._prompt)
        self._services = services

    @classmethod
    def of(cls, services: Services) -> Condenser | None:
        """None where the release switches it off."""
        settings = services.settings.condense
        return cls(services) if settings is not None and settings.enabled else None

    async def condense(self) -> str:
        """The question of the request as it stands alone. A first question is itself, and costs nothing."""
        request = self._services.request
        return await request.once(STEP, lambda: self._condensed(request))

    async def _condensed(self, request: RequestState) -> str:
        earlier = earlier_turns(request.messages, self._settings.turns)
        if not earlier:
            return request.question
        with request.preparation(STEP) as step:
            turns = await allowed_turns(earlier, self._services, self._settings.max_characters)
            if not turns:
                return request.question
            history = "\n".join(f"{_SPEAKERS[turn['role']]}: {turn['content']}" for turn in turns)
            text = await self._ask(history, request.question, step)
            verdict = await self._services.guards.check_input(text) if text else None
            taken = verdict is not None and not verdict.blocked
            step.set("sluice.condense.taken", taken)
            return verdict.text if verdict is not None and taken else request.question

    async def _ask(self, history: str, question: str, step: TraceStep) -> str:
        """The reply, empty when there was no whole one in time."""
        reply = AIMessage("")
        try:
            # Given up by leaving it, not by the provider's deadline: that would count against its breaker.
            async with asyncio.timeout(self._settings.timeout_seconds):
                reply = await (self._prompt | self._chat).ainvoke({"history": history, "question": question})
        except TimeoutError:
            step.fail("TimeoutError")
        except ModelError as error:
            _log.warning("the question was not condensed: %s", error.failure)
            step.fail(error.failure)
        text = " ".join(str(reply.text).split())
        step.text("output", [{"role": "assistant", "content": text}])
        return text if reply.response_metadata.get("finish_reason") == "stop" else ""


async def allowed_turns(earlier: Messages, services: Services, characters: int) -> list[dict[str, str]]:
    """Messages that the guards let pass, each as one line of so many characters at most."""
    found = []
    for message in earlier:
        verdict = await services.guards.check_input(message["content"])
        if not verdict.blocked:
            found.append({"role": message["role"], "content": " ".join(verdict.text.split())[:characters]})
    return found


def earlier_turns(messages: Messages, turns: int) -> Messages:
    """The last `turns` questions before the last one, each with the replies to it; empty when it is the first."""
    spoken = [message for message in messages if message["role"] in _SPEAKERS and message["content"].strip()]
    asked = [number for number, message in enumerate(spoken) if message["role"] == "user"]
    before = asked[:-1][-turns:]
    return spoken[before[0] : asked[-1]] if before else []
