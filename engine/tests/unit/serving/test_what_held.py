"""Ways around the keys that attackers of the running service tried, and that led nowhere: they must go on doing so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sluice.serving.api_keys import add_key
from sluice.serving.auth import KeyRing
from sluice.serving.http_api import create_app
from sluice.serving.middleware import TrafficState
from sluice.serving.release_parts import ReleaseBundle
from sluice.serving.runner import ApplicationRunner
from support.serving.fakes import ScriptedChat
from unit.serving.client import CHAT, Client

ASKED = {"messages": [{"role": "user", "content": "How much overlap do chunks have?"}]}
CLOSED = ("/metrics", "/v1/models", CHAT)
PATHS = (
    "//{0}", "/./{0}", "/healthz/../{0}", "/healthz/%2e%2e/{0}", "/{0}/", "/{0}%00", "/{0};x=1", "/{0}?x=1", "/%2f{0}",
    "/\\{0}", "/healthz%2f..%2f{0}", "/healthz?/../{0}",
)  # fmt: skip
METHODS = ("GET", "HEAD", "PUT", "OPTIONS", "TRACE", "get")
OVERRIDES: tuple[dict[str, str], ...] = (
    {"x-http-method-override": "GET"},
    {"x-original-url": "/healthz"},
    {"x-forwarded-for": "127.0.0.1"},
    {"x-api-key": "KEY"},  # pragma: allowlist secret
    {"cookie": "authorization=Bearer KEY; key=KEY"},
    {"proxy-authorization": "Bearer KEY"},
    {"authorization": "Basic KEY"},
    {"authorization": "Bearer KEY, Bearer x"},
    {"authorization": "Bearer *"},
)


@pytest.fixture
def secret(tmp_path: Path) -> str:
    return add_key(tmp_path / "keys.json", "web", tenant=None, scopes=["chat", "metrics"], rate=10_000)


@pytest.fixture
def client(
    bundle: ReleaseBundle,
    make_chain: Callable[[ScriptedChat], ApplicationRunner],
    chat: ScriptedChat,
    secret: str,  # noqa: ARG001 - the file is there before the service
    tmp_path: Path,
) -> Client:
    return Client(create_app(bundle, make_chain(chat), TrafficState(), keys=KeyRing(tmp_path / "keys.json")))


def closed(client: Client, method: str, path: str, headers: dict[str, str] | None = None) -> bool:
    """Whether a request got nothing that a key is needed for; what is open to all may be answered."""
    reply = client.send(method, path, headers=headers, **({"json": ASKED} if method.upper() == "POST" else {}))
    told = any(word in reply.text for word in ("sluice_requests", "chat.completion", '"object":"list"'))
    return reply.status_code < 500 and not told


@pytest.mark.parametrize("path", PATHS)
def test_no_way_of_writing_a_path_goes_around_the_key(client: Client, chat: ScriptedChat, path: str) -> None:
    for place in CLOSED:
        for method in ("GET", "POST"):
            assert closed(client, method, path.format(place[1:]))
    assert chat.calls == []


@pytest.mark.parametrize("method", METHODS)
def test_no_method_goes_around_the_key(client: Client, chat: ScriptedChat, method: str) -> None:
    assert all(closed(client, method, place) for place in CLOSED)
    assert chat.calls == []


@pytest.mark.parametrize("headers", OVERRIDES)
def test_no_header_stands_for_the_key(client: Client, chat: ScriptedChat, secret: str, headers: dict[str, str]) -> None:
    told = {name: value.replace("KEY", secret) for name, value in headers.items()}
    for place in CLOSED:
        assert closed(client, "POST" if place == CHAT else "GET", place, told)
        assert closed(client, "POST" if place == CHAT else "GET", f"{place}?key={secret}&access_token={secret}")
    assert chat.calls == []
    right = {"authorization": f"Bearer {secret}"}
    assert client.send("POST", CHAT, json=ASKED, headers=right).status_code == 200  # the key itself is let in


def test_no_page_from_elsewhere_is_told_that_it_may_ask(client: Client, secret: str) -> None:
    asked = {"origin": "https://elsewhere.example", "access-control-request-method": "POST"}
    for method in ("OPTIONS", "POST"):
        reply = client.send(method, CHAT, headers={**asked, "authorization": f"Bearer {secret}"})
        assert not [name for name in reply.headers if name.startswith("access-control-")]
