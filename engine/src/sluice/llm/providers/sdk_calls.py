"""Calls of vendors' SDKs: within a deadline, and with the failure behind their exceptions."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

from sluice.llm.provider_failures import FailureKind, ProviderError, by_status, retry_after

T = TypeVar("T")

# What AWS says within an event stream, where there is no HTTP status.
_IN_STREAM = {
    "throttlingexception": FailureKind.RATE_LIMITED,
    "validationexception": FailureKind.REFUSED,
    "accessdeniedexception": FailureKind.FORBIDDEN,
}


async def in_time(call: Awaitable[T], deadline: float) -> T:
    """The result of a call of an SDK."""
    try:
        async with asyncio.timeout_at(deadline) as limit:
            return await call
    except Exception as error:  # every SDK has exceptions of its own
        if limit.expired():
            raise ProviderError(FailureKind.DEADLINE, "no complete answer before the deadline") from None
        raise classify(error) from error


def classify(error: Exception) -> ProviderError:
    """The failure behind an exception of an SDK. Only names and codes are kept: messages may quote what was asked."""
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
