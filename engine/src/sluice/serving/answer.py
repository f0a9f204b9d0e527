"""The answer of the chain and its errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sluice.core.errors import SluiceError
from sluice.llm.chat import FinishReason
from sluice.llm.chat import Usage as Usage
from sluice.retrieval import Hit
from sluice.serving.citations import Citation

# In place of an answer that a guard has refused. What it found is in `blocked`: programs read it, attackers need not.
REFUSED = "I can't help with that request."
TOO_LONG = "Your question is too long. Shorten it and ask again."


class RequestError(SluiceError):
    """The request cannot be served as it is: `param` names the field at fault."""

    def __init__(self, message: str, *, param: str, code: str = "invalid_request") -> None:
        super().__init__(message)
        self.param, self.code = param, code


class ModelError(SluiceError):
    """The model gave no whole answer. `retry_after`: seconds after which it may be worth asking again, or
    None; `failure`: a code or the name of an exception, which is safe to log."""

    retry_after: float | None = None
    failure: str = ""


class ModelTimeoutError(ModelError):
    """The answer was not there in time."""


class ModelBusyError(ModelError):
    """The model had no place for another answer in time."""


class SearchError(ModelError):
    """The passages could not be searched, so the model was not asked."""

    retry_after = 1.0


@dataclass(frozen=True)
class Answer:
    """`blocked`: reason codes of the guard that refused, or that withheld the result of a caller's tool, joined by
    ", ", or None. Times in milliseconds.

    `declined`: the first line is the decline text, up to case, punctuation and white space, or there is a refusal in
    place of the whole answer. `ttft_ms`: until the first
    text left the chain, after its check; None when there was none. `provider`: that answered, "" when none was called;
    `usage` and `cost` are of all calls of models, condensing the conversation too; `cost` in US dollars, None when no
    provider was called or the tokens are unknown. `tool_calls`: of the caller's tools, in the form of OpenAI's API.
    `refusal`: the text is none in the form that the caller asked for. `steps`: calls of own tools.
    """

    text: str
    declined: bool
    blocked: str | None
    citations: tuple[Citation, ...]
    hits: tuple[Hit, ...]
    usage: Usage
    finish_reason: FinishReason
    ttft_ms: float | None
    latency_ms: float
    provider: str = ""
    cost: float | None = None
    model: str = ""
    tool_calls: tuple[Mapping[str, Any], ...] = ()
    refusal: bool = False
    steps: tuple[Mapping[str, Any], ...] = ()
