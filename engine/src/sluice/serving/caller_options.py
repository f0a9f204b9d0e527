"""What a caller asks for beside the question: tools of its own, and a form of the answer. The extra `clients` reads it;
a project that has left it out refuses it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from sluice.core.extras import hooks
from sluice.serving.answer import RequestError

if TYPE_CHECKING:
    from sluice.serving.request_schema import ChatRequest
    from sluice.serving.request_state import RequestState


class CallerOptions(Protocol):
    """`names`: of the fields that ask for something. `whole`: the answer has a form, and is checked as a whole.
    `exchange`: calls of the caller's tools after the question, and their results, which follow the prompt. `claims`:
    what of it is said to be a model's, which a caller can invent."""

    names: frozenset[str]
    whole: bool
    exchange: Sequence[dict[str, Any]]
    claims: Sequence[str]

    def parameters(self, longest: int, *, brief: bool) -> dict[str, Any]:
        """Those of the model's call. `longest`: tokens; `brief`: an answer before had another form, or no end."""
        ...

    async def settle(self, text: str, request: RequestState, check: Callable[..., Awaitable[str]]) -> str:
        """The end of an answer in its form; calls of the caller's tools are noted in the request. Another form is
        refused once, where nothing was sent yet; then it is a ModelError. `check`: the output guard."""
        ...

    def quotes(self, text: str) -> list[str]:
        """The texts of an answer that may be quotations."""
        ...


def caller_options(request: ChatRequest) -> CallerOptions | None:
    """What a request asks for; None when that is an answer in words. RequestError for what cannot be served."""
    wanted = {
        "tools": request.tools,
        "tool_choice": request.tool_choice not in (None, "none", "auto"),
        "response_format": request.response_format not in (None, {"type": "text"}),
        "messages": any(message.tool_calls for message in request.messages),
    }
    asked = [name for name, given in wanted.items() if given]
    for read in hooks("caller_options").values() if asked else ():
        found: CallerOptions = read(request)
        return found
    if asked and asked != ["messages"]:
        raise RequestError(f"{asked[0]}: this project has left the extra `clients` out", param=asked[0])
    return None
