"""AWS clients, and AWS errors translated into messages with a remedy."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sluice.core.errors import SluiceError
from sluice.extras.sagemaker.settings import SageMakerSettings

Say = Callable[[str], None]
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired"}
_EXPIRED |= {"InvalidClientTokenId", "UnrecognizedClientException", "InvalidToken"}
_FORBIDDEN = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"}
# SageMaker's words, and those of Application Auto Scaling.
_ABSENT = ("Could not find", "No scaling policy found")
_QUOTA = {"ResourceLimitExceeded", "ServiceQuotaExceededException", "LimitExceededException"}
# A step of a pipeline gives its reason as text, without a code.
_QUOTA_WORDS = re.compile(r"ResourceLimitExceeded|service limit|quota", re.IGNORECASE)
_SIGN_IN = "sign in again (`aws sso login`, or new keys), then run the same command: what has begun is picked up"
_MORE = (
    "ask for more under Service Quotas, SageMaker, in that region, or name another instance_type in"
    " config/sagemaker.yaml"
)


def client(service: str, region: str) -> Any:
    """Return a client that gives up after five attempts, or after a minute without an answer."""
    import boto3
    from botocore.config import Config

    config = Config(connect_timeout=10, read_timeout=60, retries={"mode": "standard", "total_max_attempts": 5})
    with asking(service):
        return boto3.client(service, region_name=region, config=config)


@contextmanager
def asking(what: str) -> Iterator[None]:
    """Turn errors of boto3 in the block into a SluiceError that names `what` was asked for."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        NoCredentialsError,
        PartialCredentialsError,
        SSOError,
        TokenRetrievalError,
    )

    try:
        yield
    except ClientError as error:
        raise _refused(what, error.response.get("Error", {})) from error
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise SluiceError(f"{what}: AWS credentials are missing: {error}", remedy=_SIGN_IN) from error
    except (SSOError, TokenRetrievalError) as error:
        raise SluiceError(f"{what}: the sign-in to AWS has expired: {error}", remedy=_SIGN_IN) from error
    except (BotoCoreError, Boto3Error) as error:
        raise SluiceError(
            f"{what}: AWS cannot be reached: {error}",
            remedy="check network and region, then run the same command: what has begun is picked up",
        ) from error


def look_up(describe: Callable[..., Any], **words: str) -> Any:
    """Call `describe`; return None if AWS finds nothing, for which its calls have no common code."""
    from botocore.exceptions import ClientError

    try:
        return describe(**words)
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code")
        if any(words in str(error) for words in _ABSENT) or code == "ResourceNotFound":
            return None
        raise


def _refused(what: str, said: dict[str, Any]) -> SluiceError:
    code, message = str(said.get("Code", "")), str(said.get("Message", ""))
    if code in _EXPIRED:
        return SluiceError(f"{what}: AWS no longer accepts the credentials: {message} ({code})", remedy=_SIGN_IN)
    if code in _QUOTA:
        return SluiceError(f"{what}: the account's quota does not allow it: {message}", remedy=_MORE)
    if code in _FORBIDDEN:
        remedy = "`sluice doctor aws` says what the role lacks; engine/aws/bootstrap.yaml gives it"
        return SluiceError(f"{what}: not allowed: {message}", remedy=remedy)
    return SluiceError(
        f"{what}: {message or code} ({code})", remedy="engine/docs/reference/sagemaker.md has the set-up"
    )


def remedy_for(reason: str, otherwise: str) -> str:
    """Return how to get more quota if a step failed for lack of it."""
    return _MORE if _QUOTA_WORDS.search(reason) else otherwise


@dataclass(frozen=True)
class AwsAccount:
    """The clients that a run of the pipeline needs."""

    settings: SageMakerSettings
    sagemaker: Any
    logs: Any
    s3: Any

    @classmethod
    def open(cls, settings: SageMakerSettings) -> AwsAccount:
        return cls(settings, *(client(service, settings.region) for service in ("sagemaker", "logs", "s3")))
