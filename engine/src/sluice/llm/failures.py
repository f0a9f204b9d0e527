"""What can go wrong at a provider, and what is done about it: the table `RULES`, and the error that carries a failure.

engine/docs/reference/providers.md shows the same table; a contract test compares the two.
"""

from __future__ import annotations

import email.utils
import time
from enum import StrEnum
from http import HTTPStatus
from typing import NamedTuple

from sluice.core.errors import SluiceError


class Failure(StrEnum):
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
    DEADLINE = "deadline"
    CUT = "cut"


class Rule(NamedTuple):
    """`retry`: at the same provider; `fall_over`: to the next one; `counts`: against the provider's breaker."""

    retry: bool
    fall_over: bool
    counts: bool


RULES = {
    Failure.UNREACHABLE: Rule(retry=True, fall_over=True, counts=True),
    Failure.SERVER_ERROR: Rule(retry=True, fall_over=True, counts=True),
    Failure.GARBAGE: Rule(retry=True, fall_over=True, counts=True),
    Failure.RATE_LIMITED: Rule(retry=True, fall_over=True, counts=False),
    Failure.SLOW: Rule(retry=False, fall_over=True, counts=True),
    Failure.FULL: Rule(retry=False, fall_over=True, counts=False),
    Failure.OPEN: Rule(retry=False, fall_over=True, counts=False),
    Failure.FORBIDDEN: Rule(retry=False, fall_over=True, counts=True),
    Failure.NOT_FOUND: Rule(retry=False, fall_over=True, counts=True),
    Failure.REFUSED: Rule(retry=False, fall_over=False, counts=False),
    Failure.DEADLINE: Rule(retry=False, fall_over=False, counts=True),
    Failure.CUT: Rule(retry=False, fall_over=False, counts=True),
}


class ProviderError(SluiceError):
    """A failure of one provider, or the last of several. `retry_after`: seconds the provider asked for, or None."""

    def __init__(self, failure: Failure, what: str, *, retry_after: float | None = None) -> None:
        super().__init__(what)
        self.failure = failure
        self.retry_after = retry_after

    @property
    def rule(self) -> Rule:
        return RULES[self.failure]

    def at(self, provider: str, *, failure: Failure | None = None) -> ProviderError:
        """The same, with the provider's name in front; `failure` replaces the kind."""
        what = f"{provider}: {self.message}"
        return ProviderError(failure or self.failure, what, retry_after=self.retry_after)


_AGAIN = {
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.CONFLICT,
    HTTPStatus.TOO_EARLY,
    HTTPStatus.FAILED_DEPENDENCY,  # what AWS answers when the model's own container failed
}


def by_status(status: int, detail: str = "", retry_after: float | None = None) -> ProviderError:
    """The failure that an HTTP status means. `detail` must hold codes only: texts may quote keys or questions."""
    if status == HTTPStatus.TOO_MANY_REQUESTS or "Throttl" in detail:
        failure = Failure.RATE_LIMITED
    elif status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _AGAIN:
        failure = Failure.SERVER_ERROR
    elif status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.PAYMENT_REQUIRED, HTTPStatus.FORBIDDEN):
        failure = Failure.FORBIDDEN
    elif status in (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.GONE):
        failure = Failure.NOT_FOUND
    elif status >= HTTPStatus.BAD_REQUEST:
        failure = Failure.REFUSED
    else:
        failure = Failure.GARBAGE
    return ProviderError(failure, f"HTTP {status}{f' ({detail})' if detail else ''}", retry_after=retry_after)


def retry_after(header: str | None) -> float | None:
    """Seconds out of a Retry-After header, which holds seconds or a date; None when it is missing or unreadable."""
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
