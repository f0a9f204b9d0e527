"""Shared code of Bedrock and SageMaker: signed requests and the event-stream format, both from botocore.

boto3, and langchain-aws on top of it, block in a thread, so a request cannot be cancelled before the first token
(engine/docs/decisions/below-langchain.md); so only signatures and frames come from botocore, the HTTP client is ours.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from sluice.core.errors import SluiceError
from sluice.llm.provider_failures import FailureKind, ProviderError

if TYPE_CHECKING:
    from sluice.llm.settings import AwsSpec

_FAILURES = {
    "throttlingException": FailureKind.RATE_LIMITED,
    "validationException": FailureKind.REFUSED,
    "accessDeniedException": FailureKind.FORBIDDEN,
}


class Signer:
    """Signature version 4 with the credentials that AWS's own tools would find: variables, profile, role."""

    def __init__(self, spec: AwsSpec, service: str) -> None:
        import botocore.session

        self._service = service
        self._region = spec.region
        self._credentials: Any = botocore.session.get_session().get_credentials()
        if self._credentials is None:
            raise SluiceError(
                f"config/providers.yaml: {spec.name}: no AWS credentials were found",
                remedy="set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run it under a role",
            )

    async def headers(self, url: str, body: bytes) -> dict[str, str]:
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import RefreshableCredentials

        if isinstance(self._credentials, RefreshableCredentials):  # may ask the machine's metadata service
            frozen = await asyncio.to_thread(self._credentials.get_frozen_credentials)
        else:
            frozen = self._credentials.get_frozen_credentials()
        request = AWSRequest("POST", url, headers={"content-type": "application/json"}, data=body)
        SigV4Auth(frozen, self._service, self._region).add_auth(request)
        return dict(request.headers.items())


class Frames:
    """An event stream of AWS, taken apart: (type of the event, payload). Exceptions in it are raised."""

    def __init__(self) -> None:
        from botocore.eventstream import EventStreamBuffer

        self._buffer: Any = EventStreamBuffer()

    def feed(self, block: bytes) -> Iterator[tuple[str, bytes]]:
        from botocore.eventstream import ParserError

        self._buffer.add_data(block)
        try:
            for message in self._buffer:
                headers = message.headers
                if headers.get(":message-type") != "event":
                    said = str(headers.get(":exception-type") or headers.get(":error-code"))
                    failure = _FAILURES.get(said[:1].lower() + said[1:], FailureKind.SERVER_ERROR)
                    raise ProviderError(failure, f"{said} in the stream")
                yield str(headers.get(":event-type")), message.payload
        except ParserError as error:
            raise ProviderError(FailureKind.GARBAGE, f"not an event stream ({type(error).__name__})") from error
