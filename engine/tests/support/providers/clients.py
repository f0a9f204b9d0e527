"""Chat providers over scripted servers, and ways to ask them."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sluice.llm.chat import ChatProvider, Delta, Messages
from sluice.llm.resilience import FallbackProvider, ProviderAttempt, open_chat
from sluice.llm.settings import ProviderSpec
from sluice.prompts import ModelParameters
from support.event_loop import run
from support.providers.server import Upstream
from support.serving.fakes import provider_entry

PARAMETERS = ModelParameters.model_validate({})
PATIENT = {"connect": 60, "queue": 600, "first_token": 600}
MESSAGES = [{"role": "user", "content": "How much?"}]


def chat_over(
    upstreams: Sequence[Upstream], *changes: dict[str, Any], clock: Callable[[], float] | None = None
) -> FallbackProvider:
    """One provider for each server, named a, b, …; `changes` to their entries, in order."""
    specs = [
        ProviderSpec.model_validate(
            provider_entry(name="abc"[number], kind="openai_compatible", base_url=f"{server.url}/v1", model="m")
            | (changes[number] if number < len(changes) else {})
        )
        for number, server in enumerate(upstreams)
    ]
    return open_chat(specs, local_url=None, **({"clock": clock} if clock else {}))


def watched(chat: FallbackProvider) -> list[ProviderAttempt]:
    seen: list[ProviderAttempt] = []
    chat.observers.append(seen.append)
    return seen


async def collect(
    chat: ChatProvider, seconds: float = 120, messages: Messages = MESSAGES, parameters: ModelParameters = PARAMETERS
) -> list[Delta]:
    deadline = asyncio.get_running_loop().time() + seconds
    return [delta async for delta in chat.stream(messages, parameters, deadline=deadline)]


def ask(chat: ChatProvider, seconds: float = 120, *, held: Callable[[], bool] = lambda: False) -> list[Delta]:
    """The pieces of an answer. The clock of its time limits stands still while `held` says so."""
    return run(collect(chat, seconds), held=held)


def unasked(*servers: Upstream) -> Callable[[], bool]:
    """To hold the clock until a server that hangs has got its request: true while none is being kept waiting."""
    return lambda: all(asked.gone.is_set() for server in servers for asked in server.asked)


def text(deltas: Sequence[Delta]) -> str:
    return "".join(delta.text for delta in deltas)


def ask_local(base_url: str, messages: Sequence[Mapping[str, str]], **parameters: Any) -> tuple[str, Delta]:
    """The answer of a llama.cpp at `base_url`, and its last piece. Parameters by their names in prompt files."""
    chat = open_chat([ProviderSpec.model_validate(provider_entry(timeouts=PATIENT))], local_url=base_url)
    read = ModelParameters.model_validate(parameters)
    deltas = asyncio.run(collect(chat, 600, messages, read))
    return text(deltas), deltas[-1]
