from __future__ import annotations

import asyncio

import pytest

from sluice.core.errors import SluiceError
from sluice.llm.aws_protocol import Frames, Signer
from sluice.llm.provider_failures import FailureKind, ProviderError
from sluice.llm.settings import ProviderSpec
from support.providers.server import aws_error, bedrock_blocks, frame
from support.serving.fakes import provider_entry

STREAM = b"".join(bedrock_blocks())


@pytest.mark.parametrize("size", [1, 7, 64, 10_000])
def test_frames_are_the_same_however_the_bytes_are_cut(size: int) -> None:
    frames = Frames()
    kinds = [kind for start in range(0, len(STREAM), size) for kind, _ in frames.feed(STREAM[start : start + size])]
    assert kinds == ["messageStart", *["contentBlockDelta"] * 3, "contentBlockStop", "messageStop", "metadata"]


@pytest.mark.parametrize(
    ("kind", "failure"),
    [
        ("throttlingException", FailureKind.RATE_LIMITED),
        ("validationException", FailureKind.REFUSED),
        ("ValidationException", FailureKind.REFUSED),
        ("accessDeniedException", FailureKind.FORBIDDEN),
        ("modelStreamErrorException", FailureKind.SERVER_ERROR),
    ],
)
def test_an_exception_in_the_stream_has_its_name(kind: str, failure: FailureKind) -> None:
    with pytest.raises(ProviderError, match=f"{kind} in the stream") as caught:
        list(Frames().feed(aws_error(kind)[0]))
    assert caught.value.failure is failure


def test_an_error_message_has_a_code_instead() -> None:
    message = frame({":message-type": "error", ":error-code": "InternalFailure"}, b"")
    with pytest.raises(ProviderError, match="InternalFailure in the stream"):
        list(Frames().feed(message))


@pytest.mark.parametrize("at", [3, 9, 30, -2])
def test_a_wrong_byte_is_garbage(at: int) -> None:
    spoilt = bytearray(bedrock_blocks()[0])
    spoilt[at] ^= 0xFF
    with pytest.raises(ProviderError) as caught:
        list(Frames().feed(bytes(spoilt) + bytes(1 << 16)))
    assert caught.value.failure is FailureKind.GARBAGE


def test_no_credentials_are_told_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("botocore.session.Session.get_credentials", lambda _: None)
    spec = ProviderSpec.model_validate(provider_entry(kind="bedrock", region="eu-west-1"))
    with pytest.raises(SluiceError, match="no AWS credentials were found"):
        Signer(spec, "bedrock")


def test_credentials_of_a_session_are_signed_with_its_token(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "dummy")
    spec = ProviderSpec.model_validate(provider_entry(kind="bedrock", region="eu-west-1"))
    headers = asyncio.run(Signer(spec, "bedrock").headers("http://127.0.0.1/model/m/converse-stream", b"{}"))
    found = {name.lower(): value for name, value in headers.items()}
    assert found["x-amz-security-token"] == "dummy"
    assert "x-amz-security-token" in found["authorization"]
