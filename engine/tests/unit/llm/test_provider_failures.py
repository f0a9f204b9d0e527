from __future__ import annotations

import email.utils
import time

import pytest

from sluice.llm.provider_failures import FailureKind, by_status, retry_after


@pytest.mark.parametrize(
    ("status", "failure"),
    [
        (500, FailureKind.SERVER_ERROR),
        (529, FailureKind.SERVER_ERROR),
        (424, FailureKind.SERVER_ERROR),
        (429, FailureKind.RATE_LIMITED),
        (402, FailureKind.FORBIDDEN),
        (410, FailureKind.NOT_FOUND),
        (422, FailureKind.REFUSED),
        (302, FailureKind.GARBAGE),
    ],
)
def test_statuses(status: int, failure: FailureKind) -> None:
    assert by_status(status).failure is failure


@pytest.mark.parametrize(
    ("detail", "said", "tokens"),
    [
        (
            "exceed_context_size_error, 400",
            "request (4530 tokens) exceeds the available context size (2048 tokens), try increasing it",
            (4530, 2048),
        ),
        (
            "invalid_request_error, context_length_exceeded",
            "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens.",
            (9000, 8192),
        ),
        (
            "BadRequestError, 400",
            "maximum context length is 4096 tokens. However, you requested 5000 tokens (4900 in the messages, 100 ...)",
            (5000, 4096),
        ),
        ("AnthropicContextOverflowError", "prompt is too long: 210000 tokens > 200000 maximum", (210000, 200000)),
        ("ValidationException", "Input is too long for requested model.", None),
        ("", "Your input exceeds the context window of this model.", None),
    ],
)
def test_a_prompt_longer_than_the_context_is_a_kind_of_its_own(
    detail: str, said: str, tokens: tuple[int, int] | None
) -> None:
    found = by_status(400, detail, said=said)
    assert (found.failure, found.tokens) == (FailureKind.TOO_LONG, tokens)
    assert found.at("primary").tokens == tokens
    assert by_status(500, detail, said=said).failure is FailureKind.SERVER_ERROR


@pytest.mark.parametrize(
    ("header", "seconds"), [("7", 7), ("0.5", 0.5), ("-3", 0), (None, None), ("", None), ("soon", None)]
)
def test_retry_after_in_seconds(header: str | None, seconds: float | None) -> None:
    assert retry_after(header) == seconds


def test_retry_after_as_a_date() -> None:
    found = retry_after(email.utils.formatdate(time.time() + 60, usegmt=True))
    assert found is not None
    assert 50 < found <= 61
    assert retry_after(email.utils.formatdate(time.time() - 60, usegmt=True)) == 0
