"""Error responses in OpenAI's format. Details of the model server and of defects stay in the log."""

from __future__ import annotations

import logging
import math

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from sluice.core.settings import nearest
from sluice.serving.answer import ModelError, ModelTimeoutError, RequestError, SearchError
from sluice.serving.feedback import FeedbackError
from sluice.serving.replies import error_response
from sluice.serving.telemetry.traces import current_trace

BROKEN = "the service failed; its log says why"
_log = logging.getLogger(__name__)


def add_error_shapes(api: FastAPI) -> None:
    """Handlers for everything that a route may raise."""

    @api.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        fault = error.errors()[0]
        place = [str(part) for part in fault["loc"][1:]]
        what = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "extra_forbidden" and len(place) == 1:
            what = f"unknown field{nearest(place[0], _fields_of_body(request))}"
        elif fault["type"] == "json_invalid":
            place, what = [], f"the body is not valid JSON: {fault.get('ctx', {}).get('error', what)}"
        param = ".".join(place) or None
        return error_response(400, f"{param}: {what}" if param else what, param=param, code="invalid_request")

    @api.exception_handler(RequestError)
    async def not_served(_: Request, error: RequestError) -> Response:
        return error_response(400, error.message, param=error.param, code=error.code)

    @api.exception_handler(ModelError)
    async def model_failed(_: Request, error: ModelError) -> Response:
        _log.error("no answer: %s", error)
        status, message, code = model_fault(error)
        current_trace().fail(type(error).__name__)
        headers = {"retry-after": f"{math.ceil(error.retry_after)}"} if error.retry_after else None
        return error_response(status, message, code=code, headers=headers)

    @api.exception_handler(FeedbackError)
    async def not_kept(_: Request, error: FeedbackError) -> Response:
        _log.error("feedback was not kept: %s", error)
        headers = {"retry-after": "60"}
        return error_response(503, "feedback cannot be kept now", code="feedback_unavailable", headers=headers)

    @api.exception_handler(HTTPException)
    async def http_error(_: Request, error: HTTPException) -> Response:
        return error_response(error.status_code, str(error.detail), headers=error.headers)

    @api.exception_handler(Exception)
    async def broken(_: Request, error: Exception) -> Response:  # noqa: ARG001 - the server logs it
        return error_response(500, BROKEN, code="internal_error")


def _fields_of_body(request: Request) -> list[str]:
    """The fields of the model that the route of a request reads its body with."""
    body = getattr(request.scope.get("route"), "body_field", None)
    return list(getattr(body.field_info.annotation, "model_fields", ())) if body else []


def model_fault(error: ModelError) -> tuple[int, str, str]:
    """Status, text and code for the client."""
    if isinstance(error, ModelTimeoutError):
        return 504, error.message, "model_timeout"
    if isinstance(error, SearchError):
        return 503, "the passages cannot be searched now; try again soon", "search_unavailable"
    return 502, "the model gave no answer", "model_error"
