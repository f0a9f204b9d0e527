"""Tokens and dollars by tenant, for Prometheus: plain ASGI around the API, whether there are budgets or not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.semconv._incubating.attributes import gen_ai_attributes as gen_ai
from prometheus_client import Counter

from sluice.serving.auth import caller_of
from sluice.serving.middleware import is_chat
from sluice.serving.telemetry.traces import CHAT, CONDENSE, Trace, current_trace

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

MOST_TENANTS = 50  # as for the values of any label of the service: the rest is `other`


class TenantUsageMiddleware:
    """Counts what providers have reported. A caller without a tenant counts as `default`, as in traces."""

    def __init__(self, app: ASGIApp, metrics: Any) -> None:
        self._app = app
        registry, labels = metrics.registry, ("tenant",)
        self._tokens = Counter("sluice_tenant_tokens", "Tokens of the model, by tenant.", labels, registry=registry)
        self._cost = Counter("sluice_tenant_cost", "US dollars, by tenant.", labels, registry=registry)
        self._tenants: set[str] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        finally:
            if is_chat(scope):
                self._count(caller_of(scope).tenant or "default", current_trace())

    def _count(self, tenant: str, trace: Trace) -> None:
        if tenant not in self._tenants and len(self._tenants) >= MOST_TENANTS:
            tenant = "other"
        self._tenants.add(tenant)
        tokens, dollars = reported(trace)
        self._tokens.labels(tenant).inc(tokens)
        self._cost.labels(tenant).inc(dollars)


def reported(trace: Trace) -> tuple[int, float]:
    """Tokens and dollars of all calls of a model in a request, as far as providers reported them.

    Args:
        trace: Of the request, when it has ended.
    """
    calls = [step.attributes for step in trace.steps if step.name in (CHAT, CONDENSE)]
    names = (gen_ai.GEN_AI_USAGE_INPUT_TOKENS, gen_ai.GEN_AI_USAGE_OUTPUT_TOKENS)
    tokens = sum(int(str(call.get(name, 0))) for call in calls for name in names)
    return tokens, sum(float(str(call.get("sluice.cost", 0))) for call in calls)
