"""The HTTP API: OpenAI-compatible chat, health, version, metrics. `create_app` puts it together for one release."""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from sluice.app.answer import Answer, ModelError, ModelTimeoutError, NoQuestionError, SearchError
from sluice.app.bundle import Bundle
from sluice.app.chain import AnswerChain
from sluice.app.disconnect import EventStream, add_gone_shape, while_connected
from sluice.app.faults import Fault, FaultInjection
from sluice.app.metrics import Metrics
from sluice.app.middleware import CHAT, Instrument, Limits, Traffic
from sluice.app.replies import Reply, error_body, error_response, event
from sluice.app.schema import MODEL, ChatRequest
from sluice.app.telemetry.telemetry import Telemetry, silent
from sluice.app.telemetry.traces import current_trace
from sluice.core.settings import nearest

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from sluice.llm.fallback import Fallback

_log = logging.getLogger(__name__)
_BROKEN = "the service failed; its log says why"


def create_app(
    bundle: Bundle,
    chain: AnswerChain,
    traffic: Traffic,
    *,
    fault: Fault | None = None,
    telemetry: Telemetry | None = None,
    providers: Fallback | None = None,
) -> ASGIApp:
    """The service as an ASGI application. `traffic` is shared with whoever drains it.

    Without `telemetry` requests have trace ids, and nothing is exported. `providers`: whose attempts are counted."""
    metrics = Metrics(bundle.release, lambda: traffic.in_flight)
    telemetry = telemetry or silent(bundle.release)
    metrics.watch(telemetry)
    if providers is not None:
        metrics.providers(providers)
    api = FastAPI(title="Sluice", docs_url=None, redoc_url=None, openapi_url=None)
    _add_chat(api, bundle.release, chain, metrics)
    _add_state(api, bundle, traffic, metrics, fault)
    _add_error_shapes(api)
    add_gone_shape(api)
    inner: ASGIApp = FaultInjection(api, fault) if fault else api
    return Instrument(Limits(inner, bundle.service.limits, traffic), bundle.release, metrics, traffic, telemetry)


def _add_chat(api: FastAPI, release: str, chain: AnswerChain, metrics: Metrics) -> None:
    @api.post(CHAT)
    async def chat(request: ChatRequest, connection: Request) -> Response:
        trace = current_trace()
        trace.stream = bool(request.stream)
        reply = Reply(release, include_usage=request.include_usage, trace_id=trace.trace_id)
        if not request.stream:
            async with while_connected(connection.receive):
                answer = await chain.answer(request.conversation())
            metrics.answer(answer)
            return JSONResponse(reply.completion(answer))
        items = chain.stream(request.conversation())
        # Nothing is sent before there is something: a failure until then still gets a status of its own.
        async with while_connected(connection.receive):
            first = await anext(items)
        return EventStream(
            _events(reply, first, items, metrics),
            items,
            media_type="text/event-stream",
            headers={"cache-control": "no-cache", "x-accel-buffering": "no"},
        )

    @api.get("/v1/models")
    async def models() -> dict[str, Any]:
        model = {"id": MODEL, "object": "model", "created": 0, "owned_by": "sluice", "release": release}
        return {"object": "list", "data": [model]}


async def _events(
    reply: Reply, first: str | Answer, items: AsyncGenerator[str | Answer, None], metrics: Metrics
) -> AsyncGenerator[bytes, None]:
    async with aclosing(items):
        yield reply.opening()
        try:
            item = first
            while not isinstance(item, Answer):
                yield reply.piece(item)
                item = await anext(items)
            metrics.answer(item)
            yield reply.closing(item)
        except ModelError as error:  # the status is sent already; the client's library raises on an error event
            current_trace().fail(type(error).__name__)
            _log.error("answer broken off: %s", error)
            status, message, code = _model_fault(error)
            yield event(error_body(status, message, code=code))
        except Exception:
            current_trace().fail("internal_error")
            _log.exception("answer broken off")
            yield event(error_body(500, _BROKEN, code="internal_error"))


def _add_state(api: FastAPI, bundle: Bundle, traffic: Traffic, metrics: Metrics, fault: Fault | None) -> None:
    @api.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "alive"}

    @api.get("/readyz")
    async def readyz() -> JSONResponse:
        if traffic.draining:
            return JSONResponse({"status": "draining"}, 503)
        return JSONResponse({"status": "ready"})

    @api.get("/version")
    async def version() -> dict[str, Any]:
        return {"release": bundle.release, "fault": str(fault) if fault else None, "manifest": dict(bundle.manifest)}

    @api.get("/metrics")
    async def metrics_page() -> Response:
        return Response(metrics.page(), media_type=CONTENT_TYPE_LATEST)


def _add_error_shapes(api: FastAPI) -> None:
    @api.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        fault = error.errors()[0]
        place = [str(part) for part in fault["loc"][1:]]
        what = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "extra_forbidden" and len(place) == 1:
            what = f"unknown field{nearest(place[0], list(ChatRequest.model_fields))}"
        elif fault["type"] == "json_invalid":
            place, what = [], f"the body is not valid JSON: {fault.get('ctx', {}).get('error', what)}"
        param = ".".join(place) or None
        return error_response(400, f"{param}: {what}" if param else what, param=param, code="invalid_request")

    @api.exception_handler(NoQuestionError)
    async def no_question(_: Request, error: NoQuestionError) -> Response:
        return error_response(400, error.message, param="messages", code="no_question")

    @api.exception_handler(ModelError)
    async def model_failed(_: Request, error: ModelError) -> Response:
        _log.error("no answer: %s", error)
        status, message, code = _model_fault(error)
        current_trace().fail(type(error).__name__)
        headers = {"retry-after": f"{math.ceil(error.retry_after)}"} if error.retry_after else None
        return error_response(status, message, code=code, headers=headers)

    @api.exception_handler(HTTPException)
    async def http_error(_: Request, error: HTTPException) -> Response:
        return error_response(error.status_code, str(error.detail), headers=error.headers)

    @api.exception_handler(Exception)
    async def broken(_: Request, error: Exception) -> Response:  # noqa: ARG001 - the server logs it
        return error_response(500, _BROKEN, code="internal_error")


def _model_fault(error: ModelError) -> tuple[int, str, str]:
    """Status, text and code for the client. Details of the model's server stay in the log."""
    if isinstance(error, ModelTimeoutError):
        return 504, error.message, "model_timeout"
    if isinstance(error, SearchError):
        return 503, "the passages cannot be searched now; try again soon", "search_unavailable"
    return 502, "the model gave no answer", "model_error"
