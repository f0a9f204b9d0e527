"""Exceptions of SDKs, by their looks: no SDK is imported to know them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from sluice.llm.provider_failures import FailureKind, classify


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
        (exception("OpenAIContextOverflowError", status_code=400), FailureKind.TOO_LONG),
        (exception("OpenAIAPIContextOverflowError"), FailureKind.TOO_LONG),
        (botocore(400, "ValidationException", "The prompt is too long."), FailureKind.TOO_LONG),
        (exception("InternalServerError", status_code=529), FailureKind.SERVER_ERROR),
        (exception("APIConnectionError"), FailureKind.UNREACHABLE),
        (exception("RemoteProtocolError"), FailureKind.UNREACHABLE),
        (exception("ReadTimeout"), FailureKind.UNREACHABLE),
        (exception("Anything", ConnectionResetError), FailureKind.UNREACHABLE),
        (exception("APIError"), FailureKind.SERVER_ERROR),
        (exception("APIStatusError", status_code=200), FailureKind.SERVER_ERROR),
        (exception("JSONDecodeError", ValueError), FailureKind.GARBAGE),
        (botocore(400, "ThrottlingException"), FailureKind.RATE_LIMITED),
        (botocore(403, "AccessDeniedException"), FailureKind.FORBIDDEN),
        (exception("ParamValidationError"), FailureKind.REFUSED),
        (exception("HTTPClientError"), FailureKind.UNREACHABLE),
        (in_stream("throttlingException"), FailureKind.RATE_LIMITED),
        (in_stream("validationException"), FailureKind.REFUSED),
        (in_stream("ValidationException"), FailureKind.REFUSED),
        (in_stream("accessDeniedException"), FailureKind.FORBIDDEN),
        (in_stream("modelStreamErrorException"), FailureKind.SERVER_ERROR),
        (in_stream("InternalFailure"), FailureKind.SERVER_ERROR),
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
