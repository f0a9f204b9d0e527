"""Who may call a route, and its label in the metrics, both read from the application's routes.

    @router.get("/v1/things", openapi_extra=needs_scope("chat"))

A route that says nothing needs a key of any scope, and so does a path that doesn't exist; `OPEN` needs none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias, get_args

from fastapi import APIRouter, Depends, Request
from fastapi.routing import APIRoute, RouteContext, iter_route_contexts
from starlette.routing import BaseRoute
from starlette.types import Scope as Connection

from sluice.core.errors import SluiceError
from sluice.core.registry import APPLICATION, load_optional
from sluice.serving.api_keys import Scope
from sluice.serving.services import Services

# In the words of OpenAPI: no security at all, and a key of any scope.
OPEN: dict[str, Any] = {"security": []}
KEY_NEEDED: dict[str, Any] = {"security": [{"key": []}]}


def _services_of(request: Request) -> Services:
    found: Services = request.app.state.application.services
    return found


# What the application is built on, as a parameter of an endpoint.
ServicesDep: TypeAlias = Annotated[Services, Depends(_services_of)]


def needs_scope(scope: Scope) -> dict[str, Any]:
    """The `openapi_extra` of a route that only keys of this scope may call."""
    return {"security": [{"key": [scope]}]}


@dataclass(frozen=True)
class Access:
    """`label` is the declared path; without a `scope`, any key will do."""

    label: str
    open: bool = False
    scope: Scope | None = None


_UNKNOWN = Access("other")


class RouteTable:
    """The access of every path and method of an application."""

    def __init__(self, routes: Sequence[BaseRoute]) -> None:
        self._exact: dict[str, dict[str, Access]] = {}
        self._patterns: list[tuple[Any, dict[str, Access]]] = []
        for route in iter_route_contexts(routes):
            if not isinstance(route.original_route, APIRoute):
                continue
            path = str(route.path)
            known = self._exact.setdefault(path, {})
            for method in sorted(route.methods or ()):
                if method in known:
                    raise SluiceError(
                        f"{_module_of(route)}: {method} {path} is already a route of the service",
                        remedy="give it another path",
                    )
                known[method] = _access_of(route)
            if route.param_convertors:
                self._patterns.append((route.path_regex, known))

    @property
    def labels(self) -> frozenset[str]:
        return frozenset(self._exact)

    def find(self, connection: Connection) -> Access:
        """Return the access of a request; for a method that the path doesn't have, another method's."""
        path = connection["path"]
        methods = self._exact.get(path) or next((m for pattern, m in self._patterns if pattern.match(path)), None)
        if not methods:
            return _UNKNOWN
        return methods.get(connection["method"]) or next(iter(methods.values()))


def _module_of(route: RouteContext) -> str:
    return str(getattr(route.endpoint, "__module__", ""))


def _access_of(route: RouteContext) -> Access:
    security = (route.openapi_extra or KEY_NEEDED).get("security", KEY_NEEDED["security"])
    if not security:
        return Access(str(route.path), open=True)
    scopes = [scope for requirement in security for scope in requirement.get("key", ("",))]
    if len(scopes) > 1 or not set(scopes) <= set(get_args(Scope)):
        raise SluiceError(
            f"{_module_of(route)}: {route.path}: needs {', '.join(map(repr, scopes))}, which no key can have",
            remedy=f"use needs_scope with one of {', '.join(get_args(Scope))}, or OPEN",
        )
    return Access(str(route.path), scope=scopes[0] if scopes else None)


def load_router() -> APIRouter | None:
    """Return `router` of src/assistant/routes.py, or None if there is no such file."""
    module = load_optional(f"{APPLICATION}.routes")
    if module is None:
        return None
    router = getattr(module, "router", None)
    if not isinstance(router, APIRouter):
        raise SluiceError(f"src/{APPLICATION}/routes.py: no `router`", remedy="write router = APIRouter()")
    return router
