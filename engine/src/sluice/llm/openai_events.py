"""Server-sent events in OpenAI's format, read with little work: the texts of all events of a block become one piece."""

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

    def feed(self, block: bytes) -> str:
        """The text that this block brings, maybe none. An error event raises what it says."""
        lines = (self._rest + block).split(b"\n")
        self._rest = lines.pop()
        if len(self._rest) > _LONGEST:
            raise ProviderError(FailureKind.GARBAGE, "an event without an end")
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
        return text

    def last(self) -> Delta:
        """The last piece of the answer. FailureKind.GARBAGE when the reply ended before the answer did."""
        if self._finish is None:
            raise ProviderError(FailureKind.GARBAGE, "the reply ended before the answer")
        return Delta(finish_reason=self._finish, usage=self._usage)

    def _event(self, event: dict[str, Any]) -> str:
        if event.get("error"):
            raise _error(event["error"])
        if usage := event.get("usage"):
            self._usage = Usage(int(usage["prompt_tokens"]), int(usage["completion_tokens"]))
        if not (choices := event["choices"]):
            return ""
        choice = choices[0]
        if reason := choice.get("finish_reason"):
            self._finish = finish_reason(reason)
        return (choice.get("delta") or {}).get("content") or ""


def _error(error: Any) -> ProviderError:
    code = error.get("code") if isinstance(error, dict) else None
    return by_status(code if isinstance(code, int) else 500, "in the stream")
