"""Failures by status and by the looks of an SDK's exception: no SDK is imported to know them."""

import email.utils
import time
from types import SimpleNamespace

import pytest

from sluice.llm.provider_failures import FailureKind, by_status, classify, retry_after


@pytest.mark.parametrize(
    ("status", "failure"),
    [
        (500, FailureKind.SERVER_ERROR),
        (424, FailureKind.SERVER_ERROR),
        (429, FailureKind.RATE_LIMITED),
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
        ("AnthropicContextOverflowError", "prompt is too long: 210000 tokens > 200000 maximum", (210000, 200000)),
        ("ValidationException", "Input is too long for requested model.", None),
        ("", "Your input exceeds the context window of this model.", None),
    ],
)
def test_a_prompt_beyond_the_context_is_its_own_kind(detail: str, said: str, tokens: tuple[int, int] | None) -> None:
    found = by_status(400, detail, said=said)
    assert (found.failure, found.tokens) == (FailureKind.TOO_LONG, tokens)
    assert found.at("primary").tokens == tokens
    assert by_status(500, detail, said=said).failure is FailureKind.SERVER_ERROR


@pytest.mark.parametrize(("header", "seconds"), [("0.5", 0.5), ("-3", 0), (None, None), ("soon", None)])
def test_retry_after_in_seconds(header: str | None, seconds: float | None) -> None:
    assert retry_after(header) == seconds


def test_retry_after_as_a_date() -> None:
    found = retry_after(email.utils.formatdate(time.time() + 60, usegmt=True))
    assert found is not None
    assert 50 < found <= 61
    assert retry_after(email.utils.formatdate(time.time() - 60, usegmt=True)) == 0


def exception(name: str, base: type[Exception] = Exception, **fields: object) -> Exception:
    error: Exception = type(name, (base,), {})("the question was: secret")
    for field, value in fields.items():
        setattr(error, field, value)
    return error


def in_stream(code: str) -> Exception:
    return exception("EventStreamError", response={"Error": {"Code": code, "Message": "secret"}})


def botocore(status: int, code: str, said: str = "") -> Exception:
    told = {"Code": code, "Message": said}
    return exception("ClientError", response={"ResponseMetadata": {"HTTPStatusCode": status}, "Error": told})


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (exception("RateLimitError", status_code=429), FailureKind.RATE_LIMITED),
        (exception("BadRequestError", status_code=400), FailureKind.REFUSED),
        (exception("OpenAIAPIContextOverflowError"), FailureKind.TOO_LONG),
        (botocore(400, "ValidationException", "The prompt is too long."), FailureKind.TOO_LONG),
        (exception("APIConnectionError"), FailureKind.UNREACHABLE),
        (exception("ReadTimeout"), FailureKind.UNREACHABLE),
        (exception("Anything", ConnectionResetError), FailureKind.UNREACHABLE),
        (exception("APIError"), FailureKind.SERVER_ERROR),
        (exception("JSONDecodeError", ValueError), FailureKind.GARBAGE),
        (botocore(400, "ThrottlingException"), FailureKind.RATE_LIMITED),
        (exception("ParamValidationError"), FailureKind.REFUSED),
        (exception("HTTPClientError"), FailureKind.UNREACHABLE),
        (in_stream("throttlingException"), FailureKind.RATE_LIMITED),
        (in_stream("validationException"), FailureKind.REFUSED),
        (in_stream("modelStreamErrorException"), FailureKind.SERVER_ERROR),
    ],
)
def test_an_exception_is_what_it_looks_like_and_its_words_are_dropped(error: Exception, failure: FailureKind) -> None:
    found = classify(error)
    assert found.failure is failure
    assert "secret" not in found.message


def test_the_time_to_wait_is_read_from_its_response() -> None:
    response = SimpleNamespace(headers={"retry-after": "9"})
    assert classify(exception("RateLimitError", status_code=429, response=response)).retry_after == 9
    reply = {"HTTPStatusCode": 429, "HTTPHeaders": {"retry-after": "9"}}
    throttled = exception("ClientError", response={"ResponseMetadata": reply, "Error": {"Code": "TooManyRequests"}})
    assert classify(throttled).retry_after == 9
