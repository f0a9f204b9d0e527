import sys
from typing import Any

import pytest
from aiobotocore.session import get_session
from botocore.model import OperationModel
from pydantic import ValidationError

from sluice.core.errors import SluiceError
from sluice.llm.chat import ChatProvider
from sluice.llm.provider_failures import FailureKind, ProviderError
from sluice.llm.providers import ProviderContext, connect
from sluice.llm.settings import ProviderSpec
from support.aws.service_model import faults
from support.providers.clients import ask
from support.providers.server import frame, upstream
from support.serving.fakes import provider_entry


def bedrock(**entry: Any) -> ChatProvider:
    given = {"kind": "bedrock", "region": "eu-west-1", "model": "m"}
    return connect(ProviderContext(ProviderSpec.model_validate(provider_entry(**given | entry))))


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "dummy")


@pytest.mark.parametrize("kind", ["bedrock", "sagemaker"])
def test_a_region_is_needed(kind: str) -> None:
    with pytest.raises(ValidationError, match=f"kind {kind} needs region"):
        ProviderSpec.model_validate(provider_entry(kind=kind))


def test_a_package_that_is_missing_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aiobotocore.config", None)
    with pytest.raises(SluiceError, match="needs a package that is not installed") as caught:
        bedrock()
    assert caught.value.remedy.startswith("install engine/requirements/serve.txt")


def test_no_credentials_are_told_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("botocore.session.Session.get_credentials", lambda _: None)
    with pytest.raises(SluiceError, match="no AWS credentials were found"):
        bedrock()


@pytest.mark.usefixtures("loopback", "credentials")
def test_credentials_of_a_session_sign_and_a_bedrock_key_is_sent_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_KEY", "dummy")
    with upstream() as server:
        ask(bedrock(base_url=server.url))
        ask(bedrock(base_url=server.url, key_env="TEST_KEY"))
    signed, keyed = (one.headers for one in server.asked)
    assert signed["x-amz-security-token"] == "dummy"
    assert "x-amz-security-token" in signed["authorization"]
    assert keyed["authorization"] == "Bearer dummy"


@pytest.mark.usefixtures("loopback", "credentials")
def test_options_that_the_api_does_not_know_are_refused() -> None:
    with pytest.raises(ProviderError) as caught:
        ask(bedrock(base_url="http://127.0.0.1:1", options={"temperture": 1}))
    assert caught.value.failure is FailureKind.REFUSED


@pytest.mark.usefixtures("loopback", "credentials")
def test_an_error_message_in_the_stream_has_a_code(monkeypatch: pytest.MonkeyPatch) -> None:
    message = frame({":message-type": "error", ":error-code": "InternalFailure"}, b"")
    monkeypatch.setattr("support.providers.server.aws_error", lambda _: [message])
    with upstream("error") as server, pytest.raises(ProviderError, match="InternalFailure in the stream"):
        ask(bedrock(base_url=server.url))


@pytest.mark.usefixtures("loopback", "credentials")
@pytest.mark.parametrize(
    ("entry", "operation"),
    [
        ({"kind": "bedrock", "model": "anthropic.claude-haiku-5-5"}, "ConverseStream"),
        ({"kind": "sagemaker", "model": "assistant"}, "InvokeEndpointWithResponseStream"),
        (
            {"kind": "sagemaker", "model": "assistant", "component": "assistant-7-0a1b2c3d"},
            "InvokeEndpointWithResponseStream",
        ),
    ],
)
def test_what_is_asked_is_what_the_models_of_aws_have(
    entry: dict[str, Any], operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Patterns, lengths and enumerations too, which botocore leaves to AWS."""
    found: dict[str, list[str]] = {}

    def asked(params: dict[str, Any], model: OperationModel, **_: Any) -> None:
        found[model.name] = faults(model.input_shape, params, model.name)

    def watched() -> Any:
        made = get_session()
        made.register("provide-client-params.*.*", asked)
        return made

    monkeypatch.setattr("aiobotocore.session.get_session", watched)
    with upstream() as server:
        spec = ProviderSpec.model_validate(provider_entry(region="eu-west-1", base_url=server.url, **entry))
        ask(connect(ProviderContext(spec)))
    assert found == {operation: []}
    component = entry.get("component", "")
    assert server.asked[0].headers.get("x-amzn-sagemaker-inference-component", "") == component
