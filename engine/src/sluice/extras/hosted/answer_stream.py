"""Answers on their way into the response cache: one that holds a key never gets there."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any
from urllib.parse import quote

from sluice.llm.chat import ChatProvider, Delta, Messages
from sluice.llm.provider_failures import FailureKind, ProviderError
from sluice.prompts import ModelParameters

_NUMBERED = re.compile(r"\\u([0-9a-fA-F]{4})")


class AnswersWithoutKeys:
    """A provider whose answers hold no key: `forbidden` are the forms in which one may come back."""

    def __init__(self, inner: ChatProvider, forbidden: Sequence[str]) -> None:
        self._inner = inner
        self._forbidden = forbidden

    async def stream(
        self, messages: Messages, parameters: ModelParameters, *, deadline: float
    ) -> AsyncGenerator[Delta, None]:
        text, calls = "", dict[Any, str]()
        async with aclosing(self._inner.stream(messages, parameters, deadline=deadline)) as stream:
            async for delta in stream:
                text += delta.text
                for piece in delta.tool_calls:
                    index = piece.get("index")
                    said = (piece.get("id"), piece.get("name"), piece.get("args"))
                    calls[index] = calls.get(index, "") + "".join(part or "" for part in said)
                # The arguments of a call are JSON, in which each character may be written by its number.
                plain = [_NUMBERED.sub(lambda found: chr(int(found[1], 16)), one) for one in calls.values()]
                seen = [text.lower(), *(one.lower() for one in (*calls.values(), *plain))]
                if any(form in one for form in self._forbidden for one in seen):
                    raise ProviderError(FailureKind.GARBAGE, "an answer that holds a key")
                yield delta


def key_forms(key: str) -> list[str]:
    """A key as an answer may repeat it, in lower case: as it is, backwards, in hex, percent-encoded, in base64."""
    raw = key.encode()
    inner = [base64.b64encode(b"x" * skip + raw)[4 if skip else 0 : -4].decode() for skip in range(3)]
    return [form.lower() for form in (key, key[::-1], raw.hex(), quote(key, safe=""), *inner) if len(form) >= 6]


async def drain(chat: ChatProvider, messages: Messages, parameters: ModelParameters, seconds: float) -> None:
    """Takes an answer to its end, for what is recorded on the way."""
    deadline = asyncio.get_running_loop().time() + seconds
    async with aclosing(chat.stream(messages, parameters, deadline=deadline)) as stream:
        async for _ in stream:
            pass
