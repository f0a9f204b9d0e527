import hmac
import logging
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from sluice.serving import auth
from sluice.serving.api_keys import add_key, revoke_key
from sluice.serving.auth import KeyRing
from support.serving.fakes import ScriptedChat, ScriptedRetriever
from unit.serving.client import CHAT, OVERLAP, Client

Clock = Callable[[float], None]
QUESTION = {"messages": [{"role": "user", "content": OVERLAP}]}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Moves the clock of auth.py on by so many seconds."""
    now = [1000.0]

    def forward(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(auth, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return forward


@pytest.fixture
def keyed(make_client: Callable[..., Client], path: Path) -> Callable[[], Client]:
    return lambda: make_client(keys=KeyRing(path))


def add(path: Path, name: str = "web", *scopes: str, tenant: str | None = None, rate: int = 60) -> str:
    return add_key(path, name, tenant=tenant, scopes=scopes or ("chat", "feedback"), rate=rate)


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def test_with_keys_the_chat_needs_one(keyed: Callable[[], Client], path: Path, chat: ScriptedChat) -> None:
    secret = add(path)
    client = keyed()
    wrong = secret[:-1] + ("A" if secret[-1] != "A" else "B")
    unknown = secret.replace(secret.split("_")[1], "00000000")
    for headers in ({}, bearer(wrong), bearer(unknown), bearer("x"), bearer(""), {"authorization": f"Basic {secret}"}):
        response = client.chat(headers=headers)
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == 'Bearer realm="sluice"'
        assert response.json()["error"]["code"] == "invalid_api_key"
        assert response.json()["error"]["type"] == "invalid_request_error"
    assert chat.calls == []
    assert client.chat(headers=bearer(secret)).status_code == 200
    assert client.chat(headers={"authorization": f"bearer  {secret}"}).status_code == 200


def test_probes_and_the_page_stay_open_and_nothing_else(keyed: Callable[[], Client], path: Path) -> None:
    add(path)
    client = keyed()
    for open_path in ("/", "/healthz", "/readyz", "/version", "/openapi.json"):
        assert client.get(open_path).status_code == 200, open_path
    for closed in ("/metrics", "/v1/models", CHAT, "/v1/feedback", "/no", "/metrics/", "/healthz/"):
        assert client.get(closed).status_code == 401, closed


def test_a_key_does_what_its_scopes_say(keyed: Callable[[], Client], path: Path) -> None:
    web, scraper = add(path), add(path, "scraper", "metrics")
    client = keyed()

    def status(where: str, key: str) -> int:
        return client.send("GET", where, headers=bearer(key)).status_code

    assert (status("/v1/models", web), status("/v1/models", scraper)) == (200, 200)
    assert (status("/metrics", web), status("/metrics", scraper)) == (403, 200)
    refused = client.chat(headers=bearer(scraper))
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "missing_scope")
    assert "'chat'" in refused.json()["error"]["message"]


def test_the_key_s_tenant_is_searched(keyed: Callable[[], Client], path: Path, retriever: ScriptedRetriever) -> None:
    acme, nobody = add(path, tenant="acme"), add(path, "shared")
    client = keyed()
    client.chat(headers=bearer(acme))
    client.chat(headers=bearer(nobody))
    client.send("POST", CHAT, json=QUESTION | {"stream": True}, headers=bearer(acme))
    # Only the key decides: what a caller writes into a request changes nothing.
    client.send("POST", CHAT, json=QUESTION | {"user": "acme", "metadata": {"tenant": "acme"}}, headers=bearer(nobody))
    assert retriever.tenants == ["acme", None, "acme", None]


def test_a_key_over_its_rate_waits(keyed: Callable[[], Client], path: Path, clock: Clock) -> None:
    slow, other = add(path, rate=2), add(path, "other")
    client = keyed()
    first = client.chat(headers=bearer(slow)).headers
    assert [first[f"x-ratelimit-{name}-requests"] for name in ("limit", "remaining", "reset")] == ["2", "1", "30s"]
    assert client.chat(headers=bearer(slow)).status_code == 200
    refused = client.chat(headers=bearer(slow))
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "30")
    assert refused.json()["error"]["type"] == "rate_limit_error"
    assert client.chat(headers=bearer(other)).status_code == 200
    clock(29)
    assert client.chat(headers=bearer(slow)).status_code == 429
    clock(2)
    assert client.chat(headers=bearer(slow)).status_code == 200


def test_a_changed_file_takes_effect_while_requests_run(keyed: Callable[[], Client], path: Path, clock: Clock) -> None:
    first = add(path)
    client = keyed()
    assert client.chat(headers=bearer(first)).status_code == 200
    second = add(path, "second")
    revoke_key(path, "web")
    clock(1.1)
    assert [client.chat(headers=bearer(key)).status_code for key in (first, second)] == [401, 200]
    revoke_key(path, "second")
    clock(1.1)
    assert client.chat(headers=bearer(second)).status_code == 401  # none in force is not the same as none asked for


def test_a_mounted_secret_changes_by_its_link(path: Path, tmp_path: Path, clock: Clock) -> None:
    """Kubernetes puts a new folder in place and moves one link; file times may be equal."""
    for version in ("one", "two"):
        (tmp_path / version).mkdir()
    old, new = add(tmp_path / "one" / "keys.json"), add(tmp_path / "two" / "keys.json")
    for version in ("one", "two"):
        os.utime(tmp_path / version / "keys.json", (1, 1))
    data = tmp_path / "..data"
    data.symlink_to("one")
    path.symlink_to("..data/keys.json")
    ring = KeyRing(path)
    assert ring.find(old)
    (tmp_path / "next").symlink_to("two")
    (tmp_path / "next").replace(data)
    clock(1.1)
    ring.refresh()
    assert ring.find(new)
    assert not ring.find(old)


@pytest.mark.parametrize("harm", ["broken", "gone"])
def test_a_broken_file_keeps_the_keys(path: Path, clock: Clock, caplog: pytest.LogCaptureFixture, harm: str) -> None:
    secret = add(path)
    ring = KeyRing(path)
    whole = path.read_bytes()
    if harm == "broken":
        path.write_bytes(whole[:50])
    else:
        path.unlink()
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            clock(1.1)
            ring.refresh()
    assert ring.required
    assert ring.find(secret)
    assert len(caplog.records) == 1  # said once, not every second
    assert secret not in caplog.text
    path.write_bytes(whole)
    revoke_key(path, "web")
    clock(1.1)
    ring.refresh()
    assert not ring.find(secret)


def test_a_new_file_closes_the_service(keyed: Callable[[], Client], path: Path, clock: Clock) -> None:
    client = keyed()
    assert client.chat().status_code == 200
    secret = add(path)
    clock(1.1)
    assert (client.chat().status_code, client.chat(headers=bearer(secret)).status_code) == (401, 200)


def test_a_wrong_key_is_compared_like_a_right_one(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = add(path)
    ring = KeyRing(path)
    compared: list[tuple[int, int]] = []

    def compare(left: str, right: str) -> bool:
        compared.append((len(left), len(right)))
        return hmac.compare_digest(left, right)

    monkeypatch.setattr(auth, "hmac", SimpleNamespace(compare_digest=compare))
    for key in (secret, secret[:-1], secret.replace(secret.split("_")[1], "00000000"), "", "é"):
        ring.find(key)
    assert compared == [(64, 64)] * 5


@pytest.fixture(params=["keyless", "no keys yet"])
def keyless(request: pytest.FixtureRequest, make_client: Callable[..., Client], path: Path) -> Client:
    return make_client(keys=KeyRing(path) if request.param == "no keys yet" else None)


@pytest.mark.parametrize("host", ["127.0.0.1", "LOCALHOST:8080", "[::1]:8080"])
@pytest.mark.parametrize("scheme", ["", "http://"])
def test_any_name_of_this_machine_and_its_page_are_answered(keyless: Client, host: str, scheme: str) -> None:
    origin = {"origin": f"{scheme}{host.lower()}"} if scheme else {}
    assert keyless.chat(headers={"host": host, **origin}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "rebound.example.org",
        "127.0.0.1.example.org",
        "192.168.0.1:8080",
        "",
        "[::1].evil.example",
        "[::1",
        "127.0.0.1:8090:evil",
        "127.0.0.1, evil.example",
    ],
)
@pytest.mark.parametrize("place", [CHAT, "/version"])
def test_a_foreign_name_is_refused_on_every_path(keyless: Client, chat: ScriptedChat, host: str, place: str) -> None:
    """A name that leads here, though its owner is somebody else: his page could read the answers."""
    method = "POST" if place == CHAT else "GET"
    response = keyless.send(method, place, json=QUESTION if place == CHAT else None, headers={"host": host})
    assert (response.status_code, response.json()["error"]["code"]) == (403, "not_this_machine")
    assert response.headers["x-sluice-release"] == "r-0123456789ab"
    assert chat.calls == []


@pytest.mark.parametrize("origin", ["http://127.0.0.1:3000", "null", ""])
@pytest.mark.parametrize("method", ["POST", "OPTIONS"])
def test_a_page_from_elsewhere_is_refused(keyless: Client, chat: ScriptedChat, origin: str, method: str) -> None:
    headers = {"host": "127.0.0.1:8080", "origin": origin}
    response = keyless.send(method, CHAT, json=QUESTION, headers=headers)
    assert (response.status_code, response.json()["error"]["code"]) == (403, "not_this_machine")
    assert "access-control-allow-origin" not in response.headers
    assert chat.calls == []


def test_weakness_10_a_second_host_is_none(keyless: Client) -> None:
    hosts = [("host", "127.0.0.1"), ("host", "evil.example")]
    for headers in (hosts, hosts[::-1], [hosts[0], hosts[0]]):
        assert keyless.send("GET", "/version", headers=headers).status_code == 403


CLOSED = ("/metrics", "/v1/models", CHAT)
PATHS = (
    "//{0}", "/healthz/../{0}", "/healthz/%2e%2e/{0}", "/{0}%00", "/{0};x=1", "/\\{0}", "/healthz%2f..%2f{0}",
)  # fmt: skip
METHODS = ("HEAD", "PUT", "OPTIONS", "get")
OVERRIDES: tuple[dict[str, str], ...] = (
    {"x-http-method-override": "GET"},
    {"x-original-url": "/healthz"},
    {"x-api-key": "KEY"},  # pragma: allowlist secret
    {"cookie": "authorization=Bearer KEY; key=KEY"},
    {"proxy-authorization": "Bearer KEY"},
    {"authorization": "Bearer KEY, Bearer x"},
)


@pytest.fixture
def secret(path: Path) -> str:
    return add_key(path, "web", tenant=None, scopes=["chat", "metrics"], rate=10_000)


@pytest.fixture
def guarded(keyed: Callable[[], Client], secret: str) -> Client:  # noqa: ARG001 - the key is there before
    return keyed()


def closed(guarded: Client, method: str, path: str, headers: dict[str, str] | None = None) -> bool:
    """Whether a request got nothing that a key is needed for; what is open to all may be answered."""
    reply = guarded.send(method, path, headers=headers, **({"json": QUESTION} if method.upper() == "POST" else {}))
    told = any(word in reply.text for word in ("sluice_requests", "chat.completion", '"object":"list"'))
    return reply.status_code < 500 and not told


@pytest.mark.parametrize("written", PATHS)
def test_no_way_of_writing_a_path_goes_around_the_key(guarded: Client, chat: ScriptedChat, written: str) -> None:
    for place in CLOSED:
        for method in ("GET", "POST"):
            assert closed(guarded, method, written.format(place[1:]))
    assert chat.calls == []


@pytest.mark.parametrize("method", METHODS)
def test_no_method_goes_around_the_key(guarded: Client, chat: ScriptedChat, method: str) -> None:
    assert all(closed(guarded, method, place) for place in CLOSED)
    assert chat.calls == []


@pytest.mark.parametrize("headers", OVERRIDES)
def test_no_header_replaces_the_key(guarded: Client, chat: ScriptedChat, secret: str, headers: dict[str, str]) -> None:
    told = {name: value.replace("KEY", secret) for name, value in headers.items()}
    for place in CLOSED:
        assert closed(guarded, "POST" if place == CHAT else "GET", place, told)
        assert closed(guarded, "POST" if place == CHAT else "GET", f"{place}?key={secret}&access_token={secret}")
    assert chat.calls == []
    right = {"authorization": f"Bearer {secret}"}
    assert guarded.chat(headers=right).status_code == 200  # the key itself is let in


def test_no_page_from_elsewhere_is_told_that_it_may_ask(guarded: Client, secret: str) -> None:
    asked = {"origin": "https://elsewhere.example", "access-control-request-method": "POST"}
    for method in ("OPTIONS", "POST"):
        reply = guarded.send(method, CHAT, headers={**asked, "authorization": f"Bearer {secret}"})
        assert not [name for name in reply.headers if name.startswith("access-control-")]
