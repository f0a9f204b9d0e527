"""Failures of a provider and the reaction to each (`RULES`), and the error that carries a failure.

engine/docs/reference/providers.md shows the same table; a contract test compares the two.
"""

from __future__ import annotations

import asyncio
import email.utils
import re
import time
from collections.abc import Awaitable
from enum import StrEnum
from http import HTTPStatus
from typing import Any, NamedTuple, TypeVar

from sluice.core.errors import SluiceError


class FailureKind(StrEnum):
    """Kinds of failures. All but CUT and DEADLINE happen before the first token."""

    UNREACHABLE = "unreachable"
    SERVER_ERROR = "server_error"
    GARBAGE = "garbage"
    RATE_LIMITED = "rate_limited"
    SLOW = "slow"
    FULL = "full"
    OPEN = "open"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    REFUSED = "refused"
    TOO_LONG = "too_long"
    DEADLINE = "deadline"
    CUT = "cut"


class FailureRule(NamedTuple):
    """`retry`: at the same provider; `fall_over`: to the next one; `counts`: against the provider's breaker."""

    retry: bool
    fall_over: bool
    counts: bool


RULES = {
    FailureKind.UNREACHABLE: FailureRule(retry=True, fall_over=True, counts=True),
    FailureKind.SERVER_ERROR: FailureRule(retry=True, fall_over=True, counts=True),
    FailureKind.GARBAGE: FailureRule(retry=True, fall_over=True, counts=True),
    FailureKind.RATE_LIMITED: FailureRule(retry=True, fall_over=True, counts=False),
    FailureKind.SLOW: FailureRule(retry=False, fall_over=True, counts=True),
    FailureKind.FULL: FailureRule(retry=False, fall_over=True, counts=False),
    FailureKind.OPEN: FailureRule(retry=False, fall_over=True, counts=False),
    FailureKind.FORBIDDEN: FailureRule(retry=False, fall_over=True, counts=True),
    FailureKind.NOT_FOUND: FailureRule(retry=False, fall_over=True, counts=True),
    FailureKind.REFUSED: FailureRule(retry=False, fall_over=False, counts=False),
    FailureKind.TOO_LONG: FailureRule(retry=False, fall_over=False, counts=False),
    FailureKind.DEADLINE: FailureRule(retry=False, fall_over=False, counts=True),
    FailureKind.CUT: FailureRule(retry=False, fall_over=False, counts=True),
}


class ProviderError(SluiceError):
    """A failure of one provider, or the last of several. `retry_after`: seconds the provider asked for, or None.
    `tokens`: of a request that is too long, and the most that the model takes; None where the provider did not say."""

    tokens: tuple[int, int] | None = None

    def __init__(self, failure: FailureKind, what: str, *, retry_after: float | None = None) -> None:
        super().__init__(what)
        self.failure = failure
        self.retry_after = retry_after

    @property
    def rule(self) -> FailureRule:
        return RULES[self.failure]

    def at(self, provider: str, *, failure: FailureKind | None = None) -> ProviderError:
        """The same failure, or one of another kind, with the provider's name in front of the message."""
        what = f"{provider}: {self.message}"
        error = ProviderError(failure or self.failure, what, retry_after=self.retry_after)
        error.tokens = self.tokens
        return error


_AGAIN = {
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.CONFLICT,
    HTTPStatus.TOO_EARLY,
    HTTPStatus.FAILED_DEPENDENCY,  # what AWS answers when the model's own container failed
}


# A prompt that is longer than the context: llama.cpp, OpenAI and Azure, LangChain, vLLM and Mistral, Anthropic and AWS,
# OpenAI's newer models, Gemini.
_TOO_LONG = re.compile(
    r"exceed_context_size|context_length_exceeded|ContextOverflow|maximum context length|(?:prompt|input) is too long"
    r"|context window|input token count",
    re.IGNORECASE,
)
_COUNTS = re.compile(r"(\d+) (?:input )?(?:tokens|maximum)")


def by_status(status: int, detail: str = "", retry_after: float | None = None, *, said: str = "") -> ProviderError:
    """Classify an HTTP status. `detail` must hold codes only: texts may quote keys or questions. Of `said`, the
    provider's message, only numbers of tokens are kept."""
    counts: list[int] = []
    if status in (HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE) and _TOO_LONG.search(f"{detail} {said}"):
        failure = FailureKind.TOO_LONG
        counts = sorted(map(int, _COUNTS.findall(said)[:2]))
    elif status == HTTPStatus.TOO_MANY_REQUESTS or "Throttl" in detail:
        failure = FailureKind.RATE_LIMITED
    elif status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _AGAIN:
        failure = FailureKind.SERVER_ERROR
    elif status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.PAYMENT_REQUIRED, HTTPStatus.FORBIDDEN):
        failure = FailureKind.FORBIDDEN
    elif status in (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.GONE):
        failure = FailureKind.NOT_FOUND
    elif status >= HTTPStatus.BAD_REQUEST:
        failure = FailureKind.REFUSED
    else:
        failure = FailureKind.GARBAGE
    error = ProviderError(failure, f"HTTP {status}{f' ({detail})' if detail else ''}", retry_after=retry_after)
    error.tokens = (counts[1], counts[0]) if len(counts) == 2 else None
    return error


def retry_after(header: str | None) -> float | None:
    """Parse a Retry-After header, which holds seconds or a date."""
    if not header:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(header).timestamp() - time.time())
    except ValueError:
        return None


T = TypeVar("T")

# What AWS says within an event stream, where there is no HTTP status.
_IN_STREAM = {
    "throttlingexception": FailureKind.RATE_LIMITED,
    "validationexception": FailureKind.REFUSED,
    "accessdeniedexception": FailureKind.FORBIDDEN,
}


async def in_time(call: Awaitable[T], deadline: float) -> T:
    try:
        async with asyncio.timeout_at(deadline) as limit:
            return await call
    except Exception as error:  # every SDK has exceptions of its own
        if limit.expired():
            raise ProviderError(FailureKind.DEADLINE, "no complete answer before the deadline") from None
        raise classify(error) from error


def classify(error: Exception) -> ProviderError:
    """Classify an SDK's exception. Only names and codes are kept: messages may quote what was asked."""
    name = type(error).__name__
    response: Any = getattr(error, "response", None)
    if isinstance(response, dict):  # of botocore, by which langchain-aws asks too
        return _of_botocore(response, name)
    status = getattr(error, "status_code", None)
    if isinstance(status, int) and status >= 400:
        wait = retry_after(getattr(response, "headers", {}).get("retry-after"))
        return by_status(status, name, wait, said=str(error))
    if "ContextOverflow" in name:  # of LangChain, in a stream
        return by_status(400, name, said=str(error))
    if name == "ParamValidationError":  # of botocore
        return ProviderError(FailureKind.REFUSED, f"the options do not fit the request ({name})")
    if isinstance(error, OSError) or any(word in name for word in ("Connect", "Timeout", "Protocol", "HTTPClient")):
        return ProviderError(FailureKind.UNREACHABLE, f"the connection failed ({name})")
    if "API" in name:
        return ProviderError(FailureKind.SERVER_ERROR, f"an error in the stream ({name})")
    return ProviderError(FailureKind.GARBAGE, f"the reply cannot be read ({name})")


def _of_botocore(response: dict[str, Any], name: str) -> ProviderError:
    code, said = (str(response.get("Error", {}).get(key, name)) for key in ("Code", "Message"))
    if (reply := response.get("ResponseMetadata")) is None:
        return ProviderError(_IN_STREAM.get(code.lower(), FailureKind.SERVER_ERROR), f"{code} in the stream")
    wait = retry_after(reply.get("HTTPHeaders", {}).get("retry-after"))
    return by_status(reply.get("HTTPStatusCode") or 500, code, wait, said=said)
