import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict

from sluice.core.errors import SluiceError
from sluice.serving import routing
from sluice.serving.api_keys import add_key
from sluice.serving.auth import KeyRing
from sluice.serving.http_api import create_app
from sluice.serving.middleware import TrafficState
from sluice.serving.release_parts import ReleaseBundle
from sluice.serving.routing import OPEN, RouteTable, ServicesDep, load_router, needs_scope
from sluice.serving.runner import ApplicationRunner
from unit.serving.client import Client


class Wish(BaseModel):
    model_config = ConfigDict(extra="forbid")

    colour: str


@pytest.fixture
def router() -> APIRouter:
    router = APIRouter()

    @router.get("/v1/things/{number}")
    async def thing(number: int) -> dict[str, int]:
        """A thing."""
        return {"number": number}

    @router.post("/v1/things", openapi_extra=needs_scope("chat"))
    async def wish(request: Wish) -> dict[str, str]:
        """Another thing."""
        return {"colour": request.colour}

    @router.get("/about", openapi_extra=OPEN)
    async def about() -> dict[str, str]:
        """For anybody."""
        raise ZeroDivisionError

    return router


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return tmp_path / "keys.yaml"


@pytest.fixture
def make_client(bundle: ReleaseBundle, chain: ApplicationRunner, router: APIRouter, keys: Path) -> Callable[[], Client]:
    return lambda: Client(create_app(bundle, chain, TrafficState(), keys=KeyRing(keys), router=router))


def key_of(path: Path, name: str, *scopes: Any, rate: int = 60) -> dict[str, str]:
    return {"authorization": f"Bearer {add_key(path, name, tenant=None, scopes=scopes, rate=rate)}"}


def test_a_route_that_says_nothing_needs_a_key(make_client: Callable[[], Client], keys: Path) -> None:
    any_key = key_of(keys, "prometheus", "metrics")
    client = make_client()
    assert client.get("/v1/things/7").status_code == 401
    assert client.send("GET", "/v1/things/7", headers=any_key).json() == {"number": 7}


def test_a_route_may_need_a_scope_or_no_key(make_client: Callable[[], Client], keys: Path) -> None:
    wrong, right = key_of(keys, "prometheus", "metrics"), key_of(keys, "web", "chat")
    client = make_client()
    assert client.send("POST", "/v1/things", json={"colour": "red"}, headers=wrong).status_code == 403
    assert client.send("POST", "/v1/things", json={"colour": "red"}, headers=right).json() == {"colour": "red"}
    assert client.get("/about").status_code == 500  # it was let in


def test_its_label_in_the_metrics_is_the_path_as_it_is_declared(make_client: Callable[[], Client]) -> None:
    client = make_client()
    client.get("/v1/things/7")
    client.get("/v1/things/8")
    page = client.get("/metrics").text
    assert 'route="/v1/things/{number}"' in page
    assert "things/7" not in page


def test_it_is_in_the_document_with_what_may_be_refused(make_client: Callable[[], Client]) -> None:
    paths = make_client().get("/openapi.json").json()["paths"]
    assert {"401", "403", "429"} <= set(paths["/v1/things/{number}"]["get"]["responses"])
    assert paths["/v1/things/{number}"]["get"]["security"] == [{"key": []}]
    assert paths["/v1/things"]["post"]["security"] == [{"key": ["chat"]}]
    assert "security" not in paths["/about"]["get"]
    assert "422" not in paths["/v1/things"]["post"]["responses"]


def test_an_endpoint_may_use_what_the_application_is_built_on(bundle: ReleaseBundle, chain: ApplicationRunner) -> None:
    router = APIRouter()

    @router.get("/v1/prompts/{name}")
    async def prompt(name: str, services: ServicesDep) -> dict[str, str]:
        return {"digest": services.prompts[name].prompt.digest, "decline": services.settings.decline}

    client = Client(create_app(bundle, chain, TrafficState(), router=router))
    assert client.get("/v1/prompts/answer").json() == {
        "digest": bundle.prompts["answer"].digest,
        "decline": bundle.service.decline,
    }
    operation = client.get("/openapi.json").json()["paths"]["/v1/prompts/{name}"]["get"]
    assert [parameter["name"] for parameter in operation["parameters"]] == ["name"], "the services are no parameter"


def test_a_path_of_the_service_is_not_for_others(bundle: ReleaseBundle, chain: ApplicationRunner) -> None:
    router = APIRouter()
    router.add_api_route("/v1/feedback", lambda: {}, methods=["POST"])
    with pytest.raises(SluiceError, match="POST /v1/feedback is already a route of the service"):
        create_app(bundle, chain, TrafficState(), router=router)


def test_a_scope_that_no_key_can_have_is_refused() -> None:
    route = APIRoute("/x", lambda: {}, openapi_extra={"security": [{"key": ["admin"]}]})
    with pytest.raises(SluiceError, match="/x: needs 'admin', which no key can have"):
        RouteTable([route])


def test_the_module_of_routes_must_have_a_router(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routing, "load_optional", lambda _: None)
    assert load_router() is None
    monkeypatch.setattr(routing, "load_optional", lambda _: types.ModuleType("assistant.routes"))
    with pytest.raises(SluiceError, match=r"src/assistant/routes.py: no .?router"):
        load_router()
