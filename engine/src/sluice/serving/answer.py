"""The answer of the chain and its errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sluice.core.errors import SluiceError
from sluice.llm.chat import Usage as Usage
from sluice.retrieval import Hit
from sluice.serving.citations import Citation


class NoQuestionError(SluiceError):
    """The messages hold nothing to answer."""


class ModelError(SluiceError):
    """The model gave no whole answer. `retry_after`: seconds after which it may be worth asking again, or
    None; `failure`: a code or the name of an exception, which is safe to log."""

    retry_after: float | None = None
    failure: str = ""


class ModelTimeoutError(ModelError):
    """The answer was not there in time."""


class SearchError(ModelError):
    """The passages could not be searched, so the model was not asked."""

    retry_after = 1.0


@dataclass(frozen=True)
class Answer:
    """`blocked`: reason codes of the guard that refused, joined by ", ", or None. Times in milliseconds.

    `declined`: the text is the decline text, up to case, punctuation and white space. `ttft_ms`: until the first text
    left the chain, after its check; None when there was no text. `provider`: the provider that answered, "" when none
    was called; `usage` and `cost` are of all calls of models, condensing the conversation too; `cost` in US dollars,
    None when no provider was called or the tokens are unknown.
    """

    text: str
    declined: bool
    blocked: str | None
    citations: tuple[Citation, ...]
    hits: tuple[Hit, ...]
    usage: Usage
    finish_reason: Literal["stop", "length", "content_filter"]
    ttft_ms: float | None
    latency_ms: float
    provider: str = ""
    cost: float | None = None
    model: str = ""
