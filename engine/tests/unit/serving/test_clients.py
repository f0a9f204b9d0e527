"""Programs that people use, against the service on a real socket: OpenAI's library, LangChain, curl."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from sluice.serving.api_keys import add_key
from support.libraries import Library
from unit.serving.process import FAST, Service

pytestmark = pytest.mark.usefixtures("loopback")

openai, langchain_openai = Library("openai"), Library("langchain_openai")

OVERLAP = "How much overlap do chunks have?"
ASK: Any = [{"role": "user", "content": OVERLAP}]


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="module")
def secret(state: Path) -> str:
    return add_key(state / "keys.json", "tests", tenant=None, scopes=["chat", "feedback"], rate=600)


@pytest.fixture(scope="module")
def service(state: Path, secret: str) -> Iterator[Service]:  # noqa: ARG001 - the keys are there first
    running = Service(FAST, f"state={str(state)!r}")
    yield running
    running.stop()


def library(service: Service, key: str) -> Any:
    http_client = httpx.Client(trust_env=False, timeout=240)
    return openai.OpenAI(base_url=f"{service.url}/v1", api_key=key, max_retries=0, http_client=http_client)


@pytest.fixture
def client(service: Service, secret: str) -> Any:
    return library(service, secret)


def test_the_openai_library_reads_an_answer(client: Any) -> None:
    answer = client.chat.completions.create(model="sluice", messages=[{"role": "user", "content": OVERLAP}])
    assert answer.choices[0].message.content == "64 tokens"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens == 13
    assert answer.model_extra is not None
    assert answer.model_extra["release"] == "r-0123456789ab"
    assert answer.model_extra["citations"][0]["document"] == "chunking"


def test_the_openai_library_reads_a_stream(client: Any) -> None:
    stream = client.chat.completions.create(
        model="sluice",
        messages=[{"role": "user", "content": OVERLAP}],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "64 tokens"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 2


def test_the_openai_library_knows_our_errors_and_models(client: Any) -> None:
    with pytest.raises(openai.BadRequestError, match="only one answer") as raised:
        client.chat.completions.create(model="sluice", messages=[{"role": "user", "content": OVERLAP}], n=2)
    assert raised.value.param == "n"
    assert [model.id for model in client.models.list()] == ["sluice"]
    with pytest.raises(openai.InternalServerError):
        client.chat.completions.create(model="sluice", messages=[{"role": "user", "content": "not scripted"}])


def test_langchain_asks_and_streams(service: Service, secret: str) -> None:
    model = langchain_openai.ChatOpenAI(
        model="sluice",
        base_url=f"{service.url}/v1",
        api_key=secret,  # type: ignore[arg-type]
        max_retries=0,
        stream_usage=True,
        http_client=httpx.Client(trust_env=False, timeout=240),
    )
    answer = model.invoke(OVERLAP)
    assert answer.content == "64 tokens"
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["total_tokens"] == 13
    pieces = list(model.stream(OVERLAP))
    assert "".join(str(piece.content) for piece in pieces) == "64 tokens"
    with pytest.raises(openai.BadRequestError):
        model.invoke("")


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl on this machine")
def test_curl_reads_both_kinds_and_the_errors(service: Service, secret: str) -> None:
    def curl(body: Any, key: str = secret) -> tuple[str, str]:
        words = ["curl", "--silent", "--show-error", "--noproxy", "*", "--max-time", "20", "--no-buffer"]
        words += ["--write-out", "\n%{http_code}", "-H", f"Authorization: Bearer {key}"]
        words += ["-H", "content-type: application/json", "-d", json.dumps(body)]
        done = subprocess.run(
            [*words, f"{service.url}/v1/chat/completions"], capture_output=True, text=True, check=True
        )
        text, _, status = done.stdout.rpartition("\n")
        return text, status

    text, status = curl({"messages": ASK})
    assert (status, json.loads(text)["choices"][0]["message"]["content"]) == ("200", "64 tokens")
    text, status = curl({"messages": ASK, "stream": True})
    assert (status, text.rstrip().endswith("data: [DONE]")) == ("200", True)
    text, status = curl({"messages": ASK}, key="wrong")
    assert (status, json.loads(text)["error"]["code"]) == ("401", "invalid_api_key")
    text, status = curl({"messages": ASK, "user": "x" * 5000})
    assert (status, json.loads(text)["error"]["code"]) == ("413", "request_too_large")
