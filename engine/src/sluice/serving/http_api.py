"""The HTTP API: OpenAI-compatible chat, feedback, page, health, version, metrics."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp

from sluice.core.extras import hooks
from sluice.guardrails.checks.attacks import LengthOptions
from sluice.llm.resilience import FallbackProvider
from sluice.retrieval.stores import seconds_down
from sluice.serving import openapi as documents
from sluice.serving.admission import AdmissionMiddleware
from sluice.serving.auth import AuthMiddleware, KeyRing, LoopbackMiddleware, caller_of
from sluice.serving.chat_page import load_page
from sluice.serving.feedback import MOST_SCORES, FeedbackError, FeedbackLog, feedback_of, proof_of
from sluice.serving.middleware import (
    CHAT,
    FEEDBACK,
    FaultMiddleware,
    InjectedFault,
    InstrumentationMiddleware,
    TrafficState,
)
from sluice.serving.release_parts import ReleaseBundle
from sluice.serving.replies import AnswerStream, ReplyFrame, add_error_shapes, error_response
from sluice.serving.request_schema import MODEL, ChatRequest, FeedbackRequest, caller_options, ignored
from sluice.serving.routing import KEY_NEEDED, OPEN, RouteTable, needs_scope
from sluice.serving.runner import ApplicationRunner
from sluice.serving.service_metrics import ServiceMetrics
from sluice.serving.telemetry.settings import SILENT
from sluice.serving.telemetry.telemetry import ProcessFacts, Telemetry
from sluice.serving.telemetry.traces import current_trace

_log = logging.getLogger(__name__)
_STORE_SECONDS = 30.0  # a store of its own may be away for so long


def create_app(
    bundle: ReleaseBundle,
    application: ApplicationRunner,
    traffic: TrafficState,
    *,
    fault: InjectedFault | None = None,
    telemetry: Telemetry | None = None,
    providers: FallbackProvider | None = None,
    keys: KeyRing | None = None,
    feedback: FeedbackLog | None = None,
    router: APIRouter | None = None,
    parts: Sequence[Callable[..., Any]] = (),
) -> ASGIApp:
    metrics = ServiceMetrics(bundle.release, lambda: traffic.in_flight)
    telemetry = telemetry or Telemetry(SILENT, ProcessFacts(bundle.release, "", ""), {})
    metrics.watch(telemetry)
    if providers is not None:
        metrics.providers(providers)
    api = FastAPI(title="Sluice", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    inner: ASGIApp = FaultMiddleware(api, fault) if fault else api
    for part in parts:
        application, wrap = part(api, application, metrics)
        inner = wrap(inner)
    _add_chat(api, bundle.release, application, metrics)
    _add_feedback(api, bundle.release, feedback, metrics)
    _add_state(api, bundle, traffic, metrics, fault)
    _add_pages(api, bundle)
    for add in hooks("routes").values():
        add(api, bundle.release, application, metrics.answer)
    if router is not None:
        api.state.application = application  # whose services an endpoint may ask for
        api.include_router(router)
    routes = RouteTable(api.routes)
    add_error_shapes(api)
    admission = AdmissionMiddleware(inner, bundle.service.limits, traffic, metrics.shed)
    metrics.queue(lambda: admission.waiting)
    keyless = LoopbackMiddleware(admission)
    outer: ASGIApp = AuthMiddleware(admission, keyless, keys, routes, metrics.shed) if keys is not None else keyless
    return InstrumentationMiddleware(outer, metrics, traffic, telemetry, routes)


def _add_chat(api: FastAPI, release: str, application: ApplicationRunner, metrics: ServiceMetrics) -> None:
    replies = documents.answers(
        documents.ChatCompletion, 400, 401, 403, 413, 429, 500, 502, 503, 504, content=documents.STREAM
    )

    @api.post(CHAT, responses=replies, openapi_extra=needs_scope("chat"))
    async def chat(request: ChatRequest, connection: Request) -> Response:
        """Answer the last user message, whole or as server-sent events."""
        caller, trace = caller_of(connection.scope), current_trace()
        tenant, proof = caller.tenant, proof_of(caller, trace.trace_id, release)
        trace.stream, trace.tenant = bool(request.stream), tenant or ""
        options = caller_options(request)
        reply = ReplyFrame(release, include_usage=request.include_usage, trace_id=trace.trace_id, proof=proof)
        if not request.stream:
            answer = await application.answer(request.conversation(), tenant=tenant, options=options)
            metrics.answer(answer)
            return JSONResponse(reply.completion(answer), headers=ignored(request, options))
        items = application.stream(request.conversation(), tenant=tenant, options=options)
        return AnswerStream(reply, await anext(items), items, metrics.answer, ignored(request, options))

    shown = {"id": MODEL, "object": "model", "created": 0, "owned_by": "sluice", "release": release}

    @api.get("/v1/models", responses=documents.answers(documents.ModelList, 401, 429), openapi_extra=KEY_NEEDED)
    async def models() -> JSONResponse:
        """List the models: there is one."""
        return JSONResponse({"object": "list", "data": [shown]})

    @api.get(
        "/v1/models/{model}",
        responses=documents.answers(documents.ModelReply, 401, 404, 429),
        openapi_extra=KEY_NEEDED,
    )
    async def one_model(model: str) -> JSONResponse:
        """Describe one model."""
        if model == MODEL:
            return JSONResponse(shown)
        return error_response(404, f"there is no model {model!r}: use {MODEL!r}", code="model_not_found", param="model")


def _add_feedback(api: FastAPI, release: str, log: FeedbackLog | None, metrics: ServiceMetrics) -> None:
    replies = documents.answers(documents.FeedbackReply, 400, 401, 403, 409, 413, 429, 500, 503)

    @api.exception_handler(FeedbackError)
    async def not_kept(_: Request, error: FeedbackError) -> Response:
        _log.error("feedback was not kept: %s", error)
        headers = {"retry-after": "60"}
        return error_response(503, "feedback cannot be kept now", code="feedback_unavailable", headers=headers)

    @api.post(FEEDBACK, responses=replies, openapi_extra=needs_scope("feedback"))
    async def feedback(request: FeedbackRequest, connection: Request) -> JSONResponse:
        """Score an answer by its id."""
        if log is None:
            raise FeedbackError("this service does not store feedback")
        record = feedback_of(request, release, caller_of(connection.scope))
        if record is None:
            message = "no answer of this release to this tenant has had this id"
            return error_response(400, message, param="trace_id", code="unknown_answer")
        before = await asyncio.to_thread(log.keep, record)
        if before >= MOST_SCORES:
            message = f"this key has scored this answer {before} times"
            return error_response(409, message, param="trace_id", code="scored_already")
        if not before:
            metrics.feedback(record.score, record.release)
        return JSONResponse({"object": "feedback", "id": record.trace_id})


def _add_state(
    api: FastAPI, bundle: ReleaseBundle, traffic: TrafficState, metrics: ServiceMetrics, fault: InjectedFault | None
) -> None:
    not_now: dict[int | str, dict[str, Any]] = {503: {"model": documents.StateReply, "description": "Not now."}}
    replies = documents.answers(documents.StateReply) | not_now

    @api.get("/healthz", responses=replies, openapi_extra=OPEN)
    async def healthz() -> JSONResponse:
        """Check that the process lives, with the store that only it has."""
        gone = seconds_down() > _STORE_SECONDS
        return JSONResponse({"status": "its store is gone" if gone else "alive"}, 503 if gone else 200)

    @api.get("/readyz", responses=replies, openapi_extra=OPEN)
    async def readyz() -> JSONResponse:
        """Check that it takes requests."""
        if traffic.draining:
            return JSONResponse({"status": "draining"}, 503)
        return JSONResponse({"status": "ready"})

    @api.get("/version", responses=documents.answers(documents.VersionReply), openapi_extra=OPEN)
    async def version() -> JSONResponse:
        """Show the release that is served, with its whole manifest."""
        shown = str(fault) if fault else None
        other, manifest = list(bundle.other_code), dict(bundle.manifest)
        return JSONResponse({"release": bundle.release, "fault": shown, "other_code": other, "manifest": manifest})

    @api.get(
        "/metrics",
        response_class=Response,
        responses=documents.text("text/plain") | documents.failures(401, 403, 429),
        openapi_extra=needs_scope("metrics"),
    )
    async def metrics_page() -> Response:
        """Show the metrics in the format of Prometheus."""
        return Response(metrics.page(), media_type=CONTENT_TYPE_LATEST)


def _add_pages(api: FastAPI, bundle: ReleaseBundle) -> None:
    lengths = [LengthOptions(**one.options) for one in bundle.guardrails.input if one.check == "length"]
    html, headers = load_page(bundle.service.page, min((one.max_characters for one in lengths), default=None))
    described: list[dict[str, Any]] = []

    @api.get("/", response_class=Response, responses=documents.text("text/html"), openapi_extra=OPEN)
    async def page() -> Response:
        """Show the chat page."""
        return Response(html, media_type="text/html", headers=headers)

    @api.get("/openapi.json", responses=documents.answers(dict[str, Any]), openapi_extra=OPEN)
    async def openapi() -> JSONResponse:
        """Show this document."""
        if not described:
            described.append(documents.describe(api, bundle.release))
        return JSONResponse(described[0])
