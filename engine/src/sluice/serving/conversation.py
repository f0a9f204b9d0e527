"""A question with what was said before it: rewritten by the prompt `condense`, or beside its earlier turns.

On any failure the last question is used unchanged: a worse answer to a follow-up is better than none."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables import Runnable

from sluice.guardrails.check import Checks
from sluice.llm.chat import Messages
from sluice.serving.answer import ModelError
from sluice.serving.request_state import RequestState, current_request
from sluice.serving.settings import CondenseSettings
from sluice.serving.telemetry.traces import TraceStep

STEP = "condense"  # of the prompt, and of the trace
_log = logging.getLogger(__name__)
_SPEAKERS = {"user": "User", "assistant": "Assistant"}


class Conversation:
    """The question of the current request and its earlier turns. Safe for concurrent questions.

    Args:
        settings: `condense` of config/service.yaml; without it there are no earlier turns.
        guards: check the earlier turns, and the question that was made to stand alone.
        rewriter: a Runnable over `history` and `question` that makes it so; None if `condense` is off.
    """

    def __init__(
        self, settings: CondenseSettings | None, guards: Checks, rewriter: Runnable[Any, BaseMessage] | None
    ) -> None:
        self._settings = settings
        self._guards = guards
        self._rewriter = rewriter

    async def question(self) -> str:
        """Return the question; with `condense`, as it stands alone. A first question costs no call of a model."""
        request = current_request()
        return await request.once(STEP, lambda: self._condensed(request)) if self._rewriter else request.question

    async def history(self) -> list[dict[str, str]]:
        """Return the earlier turns that the guards let pass; none where the question was made to stand alone."""
        if self._rewriter or self._settings is None:
            return []
        return await current_request().once("history", self._allowed_turns)

    async def _condensed(self, request: RequestState) -> str:
        assert self._settings is not None
        if not earlier_turns(request.messages, self._settings.turns):
            return request.question
        with request.preparation(STEP) as step:
            turns = await self._allowed_turns()
            if not turns:
                return request.question
            history = "\n".join(f"{_SPEAKERS[turn['role']]}: {turn['content']}" for turn in turns)
            text = await self._ask(history, request.question, step)
            verdict = await self._guards.check_input(text) if text else None
            taken = verdict is not None and not verdict.blocked
            step.set("sluice.condense.taken", taken)
            return verdict.text if verdict is not None and taken else request.question

    async def _ask(self, history: str, question: str, step: TraceStep) -> str:
        assert self._settings is not None
        assert self._rewriter is not None
        reply: BaseMessage = AIMessage("")
        try:
            # Given up by leaving it, not by the provider's deadline: that would count against its breaker.
            async with asyncio.timeout(self._settings.timeout_seconds):
                reply = await self._rewriter.ainvoke({"history": history, "question": question})
        except TimeoutError:
            step.fail("TimeoutError")
        except ModelError as error:
            _log.warning("the question was not condensed: %s", error.failure)
            step.fail(error.failure)
        text = " ".join(str(reply.text).split())
        step.text("output", [{"role": "assistant", "content": text}])
        return text if reply.response_metadata.get("finish_reason") == "stop" else ""

    async def _allowed_turns(self) -> list[dict[str, str]]:
        assert self._settings is not None
        turns = []
        for message in earlier_turns(current_request().messages, self._settings.turns):
            verdict = await self._guards.check_input(message["content"])
            if not verdict.blocked:
                text = " ".join(verdict.text.split())[: self._settings.max_characters]
                turns.append({"role": message["role"], "content": text})
        return turns


def earlier_turns(messages: Messages, turns: int) -> Messages:
    """Return the last `turns` questions before the last one, each with the replies to it."""
    spoken = [message for message in messages if message["role"] in _SPEAKERS and message["content"].strip()]
    asked = [number for number, message in enumerate(spoken) if message["role"] == "user"]
    before = asked[:-1][-turns:]
    return spoken[before[0] : asked[-1]] if before else []
