"""What a caller asks for beside the question: tools of its own, and a form of the answer. The extra `clients` reads it;
a project that has left it out refuses it. What has no effect is refused, or named in a header of the reply."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from sluice.core.extras import hooks
from sluice.serving.answer import RequestError
from sluice.serving.request_schema import MODEL

if TYPE_CHECKING:
    from sluice.serving.request_schema import ChatMessage, ChatRequest
    from sluice.serving.request_state import RequestState

# Of both APIs: clients send them by themselves, and the release decides.
_WITHOUT_EFFECT = (
    "temperature", "top_p", "frequency_penalty", "presence_penalty", "seed", "logit_bias", "reasoning_effort",
    "verbosity", "prediction", "service_tier", "reasoning", "include", "truncation", "max_tool_calls",
)  # fmt: skip
_LENGTHS = ("max_tokens", "max_completion_tokens", "max_output_tokens")  # used where tools or a form are asked for
OWN_INSTRUCTIONS = (
    "the release has its own instructions and takes no others: leave this out, and put what the answer needs "
    "into the user message, or its shape into response_format"
)


class CallerOptions(Protocol):
    """`names`: of the fields that ask for something. `whole`: the answer has a form, and is checked as a whole.
    `exchange`: calls of the caller's tools after the question, and their results, which follow the prompt. `claims`:
    what of it is said to be a model's, which a caller can invent."""

    names: frozenset[str]
    whole: bool
    exchange: Sequence[dict[str, Any]]
    claims: Sequence[str]

    def parameters(self, longest: int, *, brief: bool) -> dict[str, Any]:
        """Parameters of the model's call."""

    async def settle(self, text: str, request: RequestState, check: Callable[..., Awaitable[str]]) -> str:
        """Notes calls of the caller's tools in the request. Another form is refused once, if nothing was sent yet."""

    def quotes(self, text: str) -> list[str]:
        """The texts of an answer that may be quotations."""


def caller_options(request: ChatRequest) -> CallerOptions | None:
    """What a request asks for; None when that is an answer in words. RequestError for what cannot be served."""
    _check(request.messages)
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


def _check(messages: Sequence[ChatMessage]) -> None:
    called: list[Any] = []
    for place, message in enumerate(messages):
        called += [call.get("id") for call in message.tool_calls or ()]
        if message.role in ("system", "developer") and message.text.strip():
            param = f"messages[{place}].role"
            raise RequestError(f"{param}: {OWN_INSTRUCTIONS}", param=param, code="unsupported_parameter")
        if message.role == "tool" and message.tool_call_id not in called:
            param = f"messages[{place}].tool_call_id"
            raise RequestError(f"{param}: no message before this one has a call with this id", param=param)
    if messages[-1].role == "assistant":
        raise RequestError("messages: the last one is the assistant's: end with a user message", param="messages")


def ignored(request: Any, options: CallerOptions | None) -> dict[str, str]:
    """The header of a reply that names the parameters without effect."""
    names = (*_WITHOUT_EFFECT, *(() if options and options.names else _LENGTHS))
    found = [name for name in names if getattr(request, name, None) is not None]
    found += [] if request.model == MODEL else ["model"]
    return {"x-sluice-ignored": ", ".join(found)} if found else {}
