"""Server-sent events in OpenAI's format, read with little work: all events of a block become one piece."""

from __future__ import annotations

from typing import Any

from pydantic_core import from_json

from sluice.llm.chat import Delta, FinishReason, Usage, finish_reason
from sluice.llm.provider_failures import FailureKind, ProviderError, by_status

_LONGEST = 1 << 20  # bytes of one event
_DONE = b"[DONE]"


class OpenAIEvents:
    """`feed` blocks until `done`; `last` is the end of the answer. FailureKind.GARBAGE for what is not in the
    format."""

    def __init__(self) -> None:
        self.done = False
        self._rest = b""
        self._finish: FinishReason | None = None
        self._usage: Usage | None = None
        self._calls: dict[int, Any] = {}  # of one block; LangChain adds up pieces of different chunks only

    def feed(self, block: bytes) -> Delta | None:
        """What this block brings, None where that is neither text nor a call. An error event raises what it says."""
        lines = (self._rest + block).split(b"\n")
        self._rest = lines.pop()
        if len(self._rest) > _LONGEST:
            raise ProviderError(FailureKind.GARBAGE, "an event that never ended")
        text = ""
        for line in lines:
            if line.startswith(b"data:"):
                data = line[5:].strip()
                if data == _DONE:
                    self.done = True
                    break
                try:
                    text += self._event(from_json(data))
                except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
                    raise ProviderError(
                        FailureKind.GARBAGE, f"not an event of a chat ({type(error).__name__})"
                    ) from error
        if not self._calls:
            return Delta(text) if text else None
        calls, self._calls = tuple(self._calls.values()), {}
        return Delta(text, tool_calls=calls)

    def last(self) -> Delta:
        """The last piece of the answer. FailureKind.GARBAGE when the reply ended before the answer did."""
        if self._finish is None:
            raise ProviderError(FailureKind.GARBAGE, "the reply ended before the answer")
        return Delta(finish_reason=self._finish, usage=self._usage)

    def _event(self, event: dict[str, Any]) -> str:
        if error := event.get("error"):
            code = error.get("code") if isinstance(error, dict) else None
            raise by_status(code if isinstance(code, int) else 500, "in the stream", said=str(error))
        if usage := event.get("usage"):
            cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
            self._usage = Usage(int(usage["prompt_tokens"]), int(usage["completion_tokens"]), int(cached))
        if not (choices := event["choices"]):
            return ""
        choice = choices[0]
        if reason := choice.get("finish_reason"):
            self._finish = finish_reason(reason)
        delta = choice.get("delta") or {}
        for call in delta.get("tool_calls") or ():
            empty = {"type": "tool_call_chunk", "index": call["index"], "id": None, "name": None, "args": ""}
            piece, said = self._calls.setdefault(call["index"], empty), call.get("function") or {}
            piece["id"] = call.get("id") or piece["id"]
            piece["name"] = said.get("name") or piece["name"]
            piece["args"] += said.get("arguments") or ""
        return delta.get("content") or ""
