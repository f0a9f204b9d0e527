"""Who may talk to a service without keys: this machine, and no page or name from elsewhere."""

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
from unit.serving.client import CHAT, OVERLAP, Client

BODY = {"messages": [{"role": "user", "content": OVERLAP}]}


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


@pytest.fixture(params=["keyless", "no keys yet"])
def client(
    request: pytest.FixtureRequest,
    bundle: ReleaseBundle,
    make_chain: Callable[[ScriptedChat], ApplicationRunner],
    chat: ScriptedChat,
    keys: Path,
) -> Client:
    ring = KeyRing(keys) if request.param == "no keys yet" else None
    return Client(create_app(bundle, make_chain(chat), TrafficState(), keys=ring))


@pytest.mark.parametrize("host", ["127.0.0.1", "LOCALHOST:8080", "127.1.2.3:1", "[::1]:8080"])
def test_any_name_of_this_machine_is_answered(client: Client, host: str) -> None:
    assert client.send("POST", CHAT, json=BODY, headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "rebound.example.org",
        "127.0.0.1.example.org",
        "127.0.0.1@example.org",
        "192.168.0.1:8080",
        "[2001:db8::1]:8080",
        "",
        "[::1].evil.example",
        "[::1",
        "127.0.0.1:8090:evil",
        "127.0.0.1:",
        "127.0.0.1, evil.example",
    ],
)
@pytest.mark.parametrize("path", [CHAT, "/version"])
def test_a_name_from_elsewhere_is_refused_on_every_path(
    client: Client, chat: ScriptedChat, host: str, path: str
) -> None:
    """A name that leads here, though its owner is somebody else: his page could read the answers."""
    method = "POST" if path == CHAT else "GET"
    response = client.send(method, path, json=BODY if path == CHAT else None, headers={"host": host})
    assert (response.status_code, response.json()["error"]["code"]) == (403, "not_this_machine")
    assert response.headers["x-sluice-release"] == "r-0123456789ab"
    assert chat.calls == []


@pytest.mark.parametrize(
    "origin",
    ["https://example.org", "http://127.0.0.1:3000", "null", ""],
)
@pytest.mark.parametrize("method", ["POST", "OPTIONS"])
def test_a_page_from_elsewhere_is_refused(client: Client, chat: ScriptedChat, origin: str, method: str) -> None:
    headers = {"host": "127.0.0.1:8080", "origin": origin}
    response = client.send(method, CHAT, json=BODY, headers=headers)
    assert (response.status_code, response.json()["error"]["code"]) == (403, "not_this_machine")
    assert "access-control-allow-origin" not in response.headers
    assert chat.calls == []


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost:8080", "[::1]:8080"])
def test_the_page_of_the_service_is_answered(client: Client, host: str) -> None:
    headers = {"host": host, "origin": f"http://{host}"}
    assert client.send("POST", CHAT, json=BODY, headers=headers).status_code == 200


def test_with_keys_the_key_decides(
    bundle: ReleaseBundle, make_chain: Callable[[ScriptedChat], ApplicationRunner], chat: ScriptedChat, keys: Path
) -> None:
    """Under the name of an ingress, and from a page that has a key."""
    secret = add_key(keys, "web", tenant=None, scopes=["chat"], rate=60)
    client = Client(create_app(bundle, make_chain(chat), TrafficState(), keys=KeyRing(keys)))
    headers = {"host": "chat.example.org", "origin": "https://app.example.org"}
    assert client.send("POST", CHAT, json=BODY, headers=headers).status_code == 401
    headers["authorization"] = f"Bearer {secret}"
    assert client.send("POST", CHAT, json=BODY, headers=headers).status_code == 200


def test_weakness_10_a_second_host_is_none(client: Client) -> None:
    hosts = [("host", "127.0.0.1"), ("host", "evil.example")]
    for headers in (hosts, hosts[::-1], [hosts[0], hosts[0]]):
        assert client.send("GET", "/version", headers=headers).status_code == 403
