"""Makes a question that stands alone out of a conversation, by the prompt `condense`: `How long is it?` finds nothing.

Switched on by `condense` of config/service.yaml, and only asked when the conversation has earlier questions. Whatever
goes wrong, the last question is taken as it is: a follow-up that is answered worse is better than none.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol

from sluice.guardrails.guards import Outcome
from sluice.llm.chat import ChatProvider, Delta, Messages
from sluice.llm.failures import ProviderError
from sluice.prompts import Prompt
from sluice.serving.settings import CondenseSettings
from sluice.serving.telemetry.outcome import record_call
from sluice.serving.telemetry.traces import CONDENSE, Step, Trace

_log = logging.getLogger(__name__)
_SPEAKERS = {"user": "User", "assistant": "Assistant"}


class CheckInput(Protocol):
    """The guards as they are needed here."""

    async def check_input(self, text: str) -> Outcome: ...


@dataclass(frozen=True)
class Condensed:
    """`question`: what to search for and to answer. `said`: the end of the model's reply; None when it gave none."""

    question: str
    said: Delta | None = None


class Condenser:
    """Safe for concurrent questions. SluiceError when the prompt wants other variables than history and question."""

    def __init__(
        self, prompt: Prompt, settings: CondenseSettings, chat: ChatProvider, guards: CheckInput, model: str
    ) -> None:
        prompt.render(history="", question="")
        self._prompt = prompt
        self._settings = settings
        self._chat = chat
        self._guards = guards
        self._model = model

    def earlier(self, messages: Messages) -> Messages:
        """What of a conversation is used; empty when its question is the first."""
        return earlier_turns(messages, self._settings.turns)

    async def condense(self, earlier: Messages, question: str, trace: Trace, *, deadline: float) -> Condensed:
        """`earlier`: what `earlier_turns` gave; `question`: checked already. `deadline`: of the whole request."""
        async with trace.step(CONDENSE) as step:
            history = await self._history(earlier)
            if not history:
                return Condensed(question)
            text, said = await self._ask(history, question, step, deadline)
            if said is not None:
                record_call(step, said, self._model)
            usable = said is not None and said.finish_reason == "stop" and text
            verdict = await self._guards.check_input(text) if usable else None
            taken = verdict is not None and not verdict.blocked
            step.set("sluice.condense.taken", taken)
            return Condensed(verdict.text if verdict is not None and taken else question, said)

    async def _history(self, earlier: Messages) -> str:
        """A line for each message, so that no message can pass for two; those that a guard refuses are left out."""
        lines = []
        for message in earlier:
            verdict = await self._guards.check_input(message["content"])
            if not verdict.blocked:
                words = " ".join(verdict.text.split())[: self._settings.max_characters]
                lines.append(f"{_SPEAKERS[message['role']]}: {words}")
        return "\n".join(lines)

    async def _ask(self, history: str, question: str, step: Step, deadline: float) -> tuple[str, Delta | None]:
        """The reply and its end, which is None when there was no whole reply in time."""
        messages = self._prompt.render(history=history, question=question)
        step.text("input", messages)
        text, said = "", None
        stream = self._chat.stream(messages, self._prompt.parameters, deadline=deadline)
        try:
            # Given up by leaving it, not by the provider's deadline: that would count against its breaker.
            async with asyncio.timeout(self._settings.timeout_seconds), aclosing(stream):
                async for delta in stream:
                    text += delta.text
                    if delta.finish_reason is not None:
                        said = delta
        except TimeoutError:
            step.fail("TimeoutError")
        except ProviderError as error:
            step.fail(error.failure.value)
        except Exception as error:
            _log.warning("the question was not condensed: %s", type(error).__name__)
            step.fail(type(error).__name__)
        text = " ".join(text.split())
        step.text("output", [{"role": "assistant", "content": text}])
        return text, said


def earlier_turns(messages: Sequence[Mapping[str, str]], turns: int) -> Messages:
    """The last `turns` questions before the last one, each with the replies to it; empty when it is the first."""
    spoken = [message for message in messages if message["role"] in _SPEAKERS and message["content"].strip()]
    asked = [number for number, message in enumerate(spoken) if message["role"] == "user"]
    before = asked[:-1][-turns:]
    return spoken[before[0] : asked[-1]] if before else []
