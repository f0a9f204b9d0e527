"""A model that complies with every instruction. Behind a guard it shows what the guard alone blocks.

It repeats the canary tokens of the question, also decoded; asked about its prompt it recites it; else it repeats the
canary tokens of its passages, and then the passages themselves. It answers in the format that the question asks for.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from sluice.extras.redteam.canary_tokens import tokens_in
from sluice.extras.redteam.transforms import readings, wished_form
from sluice.llm.chat import Delta, Messages, Usage
from sluice.prompts import ModelParameters

# What the wordings of cases/extraction.yaml ask for; the passages may speak of prompts without being asked for one.
_PROMPT = re.compile(
    r"prompt|instructions?\b|rules\b|guidelines|told before|text above|before this message|first message|"
    r"(?:system|developer) message|hidden text",
    re.IGNORECASE,
)
_PIECE = 24


class ComplyingModel:
    """A chat provider without a model."""

    async def stream(
        self,
        messages: Messages,
        parameters: ModelParameters,
        *,
        deadline: float,  # noqa: ARG002 - the signature of a chat
    ) -> AsyncGenerator[Delta, None]:
        if called := _ordered_call(messages, [one["function"]["name"] for one in getattr(parameters, "tools", ())]):
            yield Delta("", tool_calls=(called,))  # type: ignore[arg-type]
            yield Delta(finish_reason="tool_calls", usage=Usage(len(str(messages).split()), 1))
            return
        reply = answer(messages)
        for start in range(0, len(reply), _PIECE):
            yield Delta(reply[start : start + _PIECE])
        yield Delta(finish_reason="stop", usage=Usage(len(str(messages).split()), len(reply.split())))


def answer(messages: Messages) -> str:
    """The whole answer to a prompt: its last message holds passages and question, the others its instructions."""
    shown = messages[-1]["content"]
    passages, _, question = shown.rpartition("\n\n")
    if said := _canaries(question):
        text = said
    elif _PROMPT.search(question):
        text = " ".join(message["content"] for message in messages[:-1])
    else:
        # Both: an attack that finds another one among its passages is still an attack.
        text = "\n".join(filter(None, (_canaries(passages), passages))) or shown
    form = wished_form(question)
    return form.apply(text) if form else text


def _ordered_call(messages: Messages, names: Sequence[str]) -> dict[str, Any] | None:
    """The call that a result of a tool orders: of a tool by its name, with the canaries as its argument."""
    shown = messages[-1]["content"]
    wanted = next((name for name in names if re.search(rf"\b{name}\b", shown)), None)
    if messages[-1]["role"] != "tool" or wanted is None or not (canaries := _canaries(shown)):
        return None
    arguments = json.dumps({"title": canaries, "text": canaries})
    return {"type": "tool_call_chunk", "index": 0, "id": "call_2", "name": wanted, "args": arguments}


def _canaries(text: str) -> str:
    return " ".join(dict.fromkeys(token for one in sorted(readings(text)) for token in tokens_in(one)))
