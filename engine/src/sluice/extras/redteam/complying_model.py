"""A model that complies with every instruction. Behind a guard it shows what the guard alone blocks.

It repeats the canary tokens of the question, also decoded; asked about its prompt it recites it; else it repeats the
canary tokens of its passages, or the passages themselves. It answers in the format that the question asks for.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator

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
        parameters: ModelParameters,  # noqa: ARG002 - the signature of a chat
        *,
        deadline: float,  # noqa: ARG002
    ) -> AsyncGenerator[Delta, None]:
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
        text = _canaries(passages) or passages or shown
    form = wished_form(question)
    return form.apply(text) if form else text


def _canaries(text: str) -> str:
    return " ".join(dict.fromkeys(token for one in sorted(readings(text)) for token in tokens_in(one)))
