"""The service with budgets, over a real PostgreSQL: what callers get, what is charged, what is shown."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from sluice.core.errors import SluiceError
from sluice.extras.budgets.ledger import configure, today
from sluice.extras.budgets.service import open_budgets
from sluice.extras.budgets.tenant_usage import MOST_TENANTS
from sluice.retrieval.postgres_connections import BoundedPool, RetrievalError
from sluice.retrieval.store_schema import open_tables
from sluice.retrieval.stores import EMBEDDED, Stores, open_store
from sluice.serving.api_keys import add_key
from sluice.serving.auth import KeyRing
from sluice.serving.http_api import create_app
from sluice.serving.middleware import TrafficState
from sluice.serving.runner import ApplicationRunner
from support.serving.fakes import HITS, REPLIES, NoChecks, ScriptedChat, ScriptedRetriever, scripted_bundle
from unit.serving.client import Client

pytestmark = pytest.mark.real
SCOPES = ["chat", "feedback", "metrics"]
TOKENS = 13  # of an answer of the double: 11 of the prompt, 2 of `64 tokens`


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, str]:
    """Authorization by the name of a key; both are of the tenant `acme`."""
    path = tmp_path / "keys.json"
    return {name: f"Bearer {add_key(path, name, tenant='acme', scopes=SCOPES, rate=1000)}" for name in ("one", "two")}


@pytest.fixture
def serve(state: Path, config: Path, tmp_path: Path) -> Iterator[Callable[..., Client]]:
    with ExitStack() as opened:

        def start(settings: str, chat: ScriptedChat | None = None) -> Client:
            config.write_text(settings)
            part = opened.enter_context(open_budgets(EMBEDDED, state))
            chain = ApplicationRunner(
                scripted_bundle(), chat or ScriptedChat(script=REPLIES), ScriptedRetriever(HITS), NoChecks()
            )
            return Client(
                create_app(
                    chain.services.bundle, chain, TrafficState(), keys=KeyRing(tmp_path / "keys.json"), parts=[part]
                )
            )

        yield start
        with open_tables(EMBEDDED, state, "budgets", configure) as pool, pool.connection() as connection:
            connection.execute("DELETE FROM sluice_budgets")


def charged(state: Path) -> dict[str, tuple[int, int, float]]:
    with open_tables(EMBEDDED, state, "budgets", configure) as pool, pool.connection() as connection:
        sought = "SELECT budget, requests, tokens, dollars FROM sluice_budgets WHERE day = %s"
        return {name: tuple(used) for name, *used in connection.execute(sought, (today(),))}


def by(key: str) -> dict[str, str]:
    return {"authorization": key}


def test_a_key_that_has_used_up_its_budget_is_told_until_when(
    serve: Callable[..., Client], keys: dict[str, str], state: Path
) -> None:
    client = serve("each_key: {requests: 2}\nkeys: {two: {requests: 3}}\n")
    assert [client.chat(headers=by(keys["one"])).status_code for _ in range(3)] == [200, 200, 429]
    refused = client.chat(headers=by(keys["one"]))
    error = refused.json()["error"]
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).date()
    assert error["code"] == "budget_exceeded"
    assert error["type"] == "rate_limit_error"
    assert error["message"] == (
        f"the budget of key one, 2 requests a day, is used up; it begins anew at {tomorrow}T00:00:00Z"
    )
    assert 0 < int(refused.headers["retry-after"]) <= 86_400
    assert refused.headers["x-should-retry"] == "false"
    assert [client.chat(headers=by(keys["two"])).status_code for _ in range(4)] == [200, 200, 200, 429]
    assert {name: used[0] for name, used in charged(state).items()} == {"key one": 2, "key two": 3}


def test_two_replicas_share_a_budget_of_tokens(serve: Callable[..., Client], keys: dict[str, str], state: Path) -> None:
    settings = f"reserve: {{tokens: 20}}\ntenants: {{acme: {{tokens: {3 * TOKENS}}}}}\n"
    replicas = [serve(settings), serve(settings)]
    statuses = [replicas[turn % 2].chat(headers=by(keys[("one", "two")[turn % 2]])).status_code for turn in range(5)]
    assert statuses == [200, 200, 200, 429, 429]
    assert charged(state) == {"tenant acme": (3, 3 * TOKENS, 0.0)}


def test_streams_responses_and_mcp_count_and_nothing_else(
    serve: Callable[..., Client], keys: dict[str, str], state: Path
) -> None:
    client = serve("reserve: {tokens: 20}\neverybody: {tokens: 1000}\n")
    headers = by(keys["one"])
    whole = client.chat(headers=headers, stream=True)
    assert whole.text.endswith("data: [DONE]\n\n")
    asked = {"model": "sluice", "input": "How much overlap do chunks have?"}
    assert client.send("POST", "/v1/responses", json=asked, headers=headers).status_code == 200
    assert charged(state) == {"everybody": (2, 2 * TOKENS, 0.0)}
    for path in ("/version", "/v1/models", "/metrics"):
        client.send("GET", path, headers=headers)
    client.send("POST", "/v1/feedback", json={}, headers=headers)
    assert client.chat(headers=by("Bearer none")).status_code == 401
    assert charged(state)["everybody"][0] == 2


def test_a_caller_who_goes_away_is_charged_and_a_failure_of_the_model_is_not(
    serve: Callable[..., Client], keys: dict[str, str], state: Path
) -> None:
    settings = "reserve: {tokens: 50}\neverybody: {tokens: 1000}\n"
    slow = serve(settings, ScriptedChat(script={"overlap": "64 tokens. " * 200}, piece=12, delay=0.01))

    async def leave() -> None:
        gone, said = asyncio.Event(), asyncio.Event()
        body = json.dumps(
            {"stream": True, "messages": [{"role": "user", "content": "How much overlap do chunks have?"}]}
        )
        given = [{"type": "http.request", "body": body.encode(), "more_body": False}]

        async def receive() -> dict[str, Any]:
            if given:
                return given.pop()
            await said.wait()
            gone.set()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            if message.get("body"):
                said.set()

        scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "query_string": b""}
        scope |= {"headers": [(b"authorization", keys["one"].encode()), (b"content-type", b"application/json")]}
        await slow._app(scope, receive, send)
        assert gone.is_set()

    asyncio.run(leave())
    assert charged(state) == {"everybody": (1, 50, 0.0)}
    failing = serve(settings, ScriptedChat(script={"overlap": ConnectionError("no")}))
    assert failing.chat(headers=by(keys["one"])).status_code == 502
    assert charged(state) == {"everybody": (2, 50, 0.0)}


def test_metrics_show_what_is_used_and_the_limit(serve: Callable[..., Client], keys: dict[str, str]) -> None:
    client = serve("each_key: {requests: 1}\n")
    for _ in range(2):
        client.chat(headers=by(keys["one"]))
    page = client.send("GET", "/metrics", headers=by(keys["one"])).text
    assert re.search(r'^sluice_budget_used\{budget="key one",unit="requests"\} 1\.0$', page, re.M)
    assert re.search(r'^sluice_budget_limit\{budget="key one",unit="requests"\} 1\.0$', page, re.M)
    assert re.search(r'^sluice_shed_total\{reason="budget",release="r-0123456789ab"\} 1\.0$', page, re.M)


def test_where_nothing_can_be_counted_nothing_is_answered(
    serve: Callable[..., Client], keys: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = serve("each_key: {requests: 5}\n")

    def down(_: BoundedPool) -> None:
        raise RetrievalError("PostgreSQL cannot be reached")

    with monkeypatch.context() as broken:
        broken.setattr(BoundedPool, "connection", down)
        reply: httpx.Response = client.chat(headers=by(keys["one"]))
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "budget_unavailable")
    assert reply.headers["retry-after"] == "1"


def test_without_a_limit_nothing_is_opened(config: Path, tmp_path: Path) -> None:
    nowhere = Stores.model_validate({"default": "x", "stores": {"x": {"kind": "postgres", "url_env": "NOT_SET"}}})
    with open_budgets(nowhere, tmp_path / ".sluice") as part:
        assert part(None, "application", None)[0] == "application"
    config.write_text("everybody: {tokens: 5}\n")
    with (
        pytest.raises(SluiceError, match=r"reserve\.tokens is missing"),
        open_budgets(EMBEDDED, config.parent.parent / "x"),
    ):
        pass


def test_a_store_without_the_tables_is_named(config: Path, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config.write_text("each_key: {requests: 1}\n")
    shared = Stores.model_validate({"default": "x", "stores": {"x": {"kind": "postgres", "url_env": "BUDGET_STORE"}}})
    with open_store(EMBEDDED.chosen, state) as address:
        with psycopg.connect(address, autocommit=True) as connection:
            connection.execute("DROP DATABASE IF EXISTS bare")
            connection.execute("CREATE DATABASE bare")
        monkeypatch.setenv("BUDGET_STORE", address.replace("/postgres?", "/bare?"))
        with pytest.raises(SluiceError, match="not there yet") as caught, open_budgets(shared, state):
            pass
        assert caught.value.remedy == "run `sluice index migrate`"


def test_what_each_tenant_uses_is_counted_without_budgets_too(
    serve: Callable[..., Client], keys: dict[str, str], tmp_path: Path
) -> None:
    headers = by(f"Bearer {add_key(tmp_path / 'keys.json', 'three', tenant='umbrella', scopes=SCOPES, rate=1000)}")
    for settings in ("{}", "each_key: {requests: 2}"):
        client = serve(settings)
        assert client.chat(headers=by(keys["one"])).status_code == 200
        assert client.chat(headers=by(keys["one"]), stream=True).text.endswith("data: [DONE]\n\n")
        assert client.chat(headers=headers).status_code == 200
        page = client.send("GET", "/metrics", headers=headers).text
        used = dict(re.findall(r"^sluice_tenant_tokens_total\{(.*)\} (.*)$", page, re.MULTILINE))
        assert used == {'tenant="acme"': f"{2 * TOKENS}.0", 'tenant="umbrella"': f"{TOKENS}.0"}
        assert re.findall(r"^sluice_tenant_cost_total\{tenant=\"acme\"\} (.*)$", page, re.MULTILINE) == ["0.0"]


def test_the_number_of_tenants_in_metrics_is_bounded(serve: Callable[..., Client], tmp_path: Path) -> None:
    path, numbers = tmp_path / "keys.json", range(MOST_TENANTS + 2)
    given = [add_key(path, f"k{number}", tenant=f"t{number}", scopes=SCOPES, rate=1000) for number in numbers]
    client = serve("{}")
    assert {client.chat(headers=by(f"Bearer {key}")).status_code for key in given} == {200}
    page = client.send("GET", "/metrics", headers=by(f"Bearer {given[0]}")).text
    used = dict(re.findall(r'^sluice_tenant_tokens_total\{tenant="(.*)"\} (.*)$', page, re.MULTILINE))
    assert len(used) == MOST_TENANTS + 1
    assert used["other"] == f"{2 * TOKENS}.0"
