"""A scripted model that answers in the form that it is asked for, for services in a process of their own."""

import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from sluice.llm.chat import Delta, Messages, Usage
from sluice.llm.llama_server import LocalServer
from sluice.llm.resilience import open_chat
from sluice.llm.settings import ProviderSpec
from sluice.prompts import ModelParameters
from support.serving.fakes import provider_entry

OVERLAP = {"answer": "64 tokens", "tokens": 64}
ARGUMENTS = {"weather": {"city": "Rīga"}, "Overlap": OVERLAP}
WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}


def call(name: str, arguments: str, index: int = 0) -> Delta:
    piece = {"type": "tool_call_chunk", "index": index, "id": f"call_{index}", "name": name, "args": arguments}
    return Delta(tool_calls=(piece,))  # type: ignore[arg-type]


class FormChat:
    """Calls the forced or first tool, then says what it gave; else writes an object if one is wanted, else words."""

    async def stream(self, messages: Messages, parameters: ModelParameters, **__: Any) -> AsyncGenerator[Delta, None]:
        asked = parameters.model_dump()
        tools = [tool["function"]["name"] for tool in asked.get("tools", ())]
        choice = asked.get("tool_choice")
        form = asked.get("response_format")
        last, reason = messages[-1], "stop"
        if tools and choice != "none" and last["role"] != "tool":
            name = choice["function"]["name"] if isinstance(choice, dict) else tools[0]
            reason = "tool_calls"
            yield call(name, json.dumps(ARGUMENTS[name]))
        elif form:
            text = json.dumps(OVERLAP)
            for start in range(0, len(text), 7):
                yield Delta(text[start : start + 7])
        elif last["role"] == "tool":
            yield Delta(f"It says: {last['content']}.")
        else:
            yield Delta("64 ")
            yield Delta("tokens")
        yield Delta(finish_reason=reason, usage=Usage(11, 2, 8))  # type: ignore[arg-type]


_SERVERS: list[LocalServer] = []  # until the process ends


def local_chat(model: str) -> Any:
    _SERVERS.append(LocalServer(Path(model), threads=1))
    patient = {"connect": 60, "queue": 60, "first_token": 110}
    spec = ProviderSpec.model_validate(provider_entry(timeouts=patient))
    return open_chat([spec], local_url=_SERVERS[0].base_url)
