"""Plain ASGI around the API, behind keys and queue: 429 for a request whose budget is used up, and its charge."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from opentelemetry.semconv._incubating.attributes import gen_ai_attributes as gen_ai
from prometheus_client import Gauge

from sluice.extras.budgets.ledger import UNITS, BudgetLedger, Charge, next_day, today
from sluice.extras.budgets.settings import BudgetSettings, DailyLimits
from sluice.retrieval.postgres_connections import RetrievalError
from sluice.serving.auth import caller_of
from sluice.serving.middleware import is_chat
from sluice.serving.replies import error_response
from sluice.serving.telemetry.traces import CHAT, CONDENSE, Trace, current_trace

if TYPE_CHECKING:
    from starlette.responses import JSONResponse
    from starlette.types import ASGIApp, Receive, Scope, Send


_log = logging.getLogger(__name__)
_FREE = ("ModelError", "RequestError")


class BudgetMiddleware:
    """Requests of answers count, whole or streamed, by any of the APIs."""

    def __init__(self, app: ASGIApp, settings: BudgetSettings, ledger: BudgetLedger, metrics: Any) -> None:
        self._app = app
        self._settings = settings
        self._ledger = ledger
        self._shed = metrics.shed
        labels = ("budget", "unit")
        self._used = Gauge("sluice_budget_used", "Used today, by budget and unit.", labels, registry=metrics.registry)
        self._limit = Gauge("sluice_budget_limit", "Limit of a day.", labels, registry=metrics.registry)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        caller = caller_of(scope)
        budgets = self._settings.of(caller.key, caller.tenant) if is_chat(scope) else {}
        if not budgets:
            await self._app(scope, receive, send)
            return
        day = today()
        try:
            charge = await asyncio.to_thread(self._ledger.reserve, day, budgets, self._settings.reserve)
        except RetrievalError as error:
            _log.error("no budget can be charged: %s", error)
            refusal = _unavailable()
        else:
            if not charge.over:
                self._show(charge, budgets)
                await self._charged(scope, receive, send, day, budgets)
                return
            refusal = _used_up(*charge.over, budgets, day)
        self._shed("budget")
        await refusal(scope, receive, send)

    async def _charged(
        self, scope: Scope, receive: Receive, send: Send, day: date, budgets: Mapping[str, DailyLimits]
    ) -> None:
        try:
            await self._app(scope, receive, send)
        finally:  # also of a caller who has gone: what was asked of a model is used
            reserve = self._settings.reserve
            tokens, dollars = _used(current_trace(), self._settings)
            try:
                await asyncio.to_thread(
                    self._ledger.settle, day, budgets, tokens - reserve.tokens, dollars - reserve.dollars
                )
            except RetrievalError as error:
                _log.error("a request stays charged with its reservation: %s", error)

    def _show(self, charge: Charge, budgets: Mapping[str, DailyLimits]) -> None:
        for name, used in charge.used.items():
            for unit, value in zip(UNITS, used, strict=True):
                if (limit := getattr(budgets[name], unit)) is not None:
                    self._used.labels(name, unit).set(value)
                    self._limit.labels(name, unit).set(limit)


def _used(trace: Trace, settings: BudgetSettings) -> tuple[int, float]:
    """Tokens and dollars of a request; at least its reservation where a call of a model was broken off, as that says
    nothing of what it took. What a provider has failed to answer is free."""
    calls: list[Mapping[str, Any]] = [
        step.attributes for step in trace.steps if step.name in (CHAT, CONDENSE) and step.error not in _FREE
    ]
    names = (gen_ai.GEN_AI_USAGE_INPUT_TOKENS, gen_ai.GEN_AI_USAGE_OUTPUT_TOKENS)
    tokens = sum(int(call.get(name, 0)) for call in calls for name in names)
    dollars = sum(float(call.get("sluice.cost", 0)) for call in calls)
    most = settings.reserve
    if not all(call.get(names[0]) for call in calls):
        return max(tokens, most.tokens), max(dollars, most.dollars)
    if tokens > most.tokens > 0 or dollars > most.dollars > 0:
        _log.warning("a request took %d tokens and $%g, more than config/budgets.yaml reserves", tokens, dollars)
    return tokens, dollars


def _used_up(name: str, unit: str, budgets: Mapping[str, DailyLimits], day: date) -> JSONResponse:
    end = next_day(day)
    limit = getattr(budgets[name], unit)
    said = f"${limit:g}" if unit == "dollars" else f"{limit} {unit}"
    message = f"the budget of {name}, {said} a day, is used up; it begins anew at {end:%Y-%m-%dT%H:%M:%SZ}"
    seconds = max(1, math.ceil((end - datetime.now(UTC)).total_seconds()))
    # OpenAI's libraries would try again at once.
    headers = {"retry-after": str(seconds), "x-should-retry": "false"}
    return error_response(429, message, code="budget_exceeded", headers=headers)


def _unavailable() -> JSONResponse:
    message = "budgets cannot be counted now; try again soon"
    return error_response(503, message, code="budget_unavailable", headers={"retry-after": "1"})
