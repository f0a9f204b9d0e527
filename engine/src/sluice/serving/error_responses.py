"""Error responses in OpenAI's format. Details of the model server and of defects stay in the log."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from sluice.core.settings import nearest
from sluice.serving.answer import ModelBusyError, ModelError, ModelTimeoutError, RequestError, SearchError
from sluice.serving.feedback import FeedbackError
from sluice.serving.replies import error_response
from sluice.serving.telemetry.traces import current_trace

BROKEN = "the service failed; its log says why"
# In place of pydantic's, which are about Python.
_WORDS = {
    "missing": "this field is required",
    "too_short": "at least {min_length} item(s)",
    "string_type": "has to be a string",
    "model_attributes_type": "has to be a JSON object",
}
_KINDS = {"str", "int", "float", "bool"}  # which pydantic names behind the place of a value that may be of several
_log = logging.getLogger(__name__)


def add_error_shapes(api: FastAPI) -> None:
    """Handlers for everything that a route may raise."""

    @api.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        fault = max(error.errors(), key=lambda one: len(_place(one)))  # of several kinds, the one that comes nearest
        place, kind, ctx = _place(fault), fault["type"], fault.get("ctx", {})
        what = _WORDS[kind].format(**ctx) if kind in _WORDS else fault["msg"].removeprefix("Value error, ")
        if kind == "extra_forbidden" and len(place) == 1:
            what = f"unknown field{nearest(str(place[0]), _fields_of_body(request))}"
        elif kind == "json_invalid":
            place, what = [], f"the body is not valid JSON: {ctx.get('error', what)}"
        elif isinstance(error.body, bytes):
            sent = request.headers.get("content-type")
            what = f"send the header `content-type: application/json`; this request has {sent or 'none'}"
        elif error.body is None and fault["loc"] == ("body",):
            what = "the body is empty: send a JSON object"
        param = param_of(place) or None
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
    async def http_error(request: Request, error: HTTPException) -> Response:
        what, code, path = str(error.detail), None, request.url.path[:200]
        if what in ("Not Found", "Method Not Allowed"):
            paths = [getattr(one, "path", "") for one in request.app.routes]
            takes = (error.headers or {}).get("Allow")
            hint = f": this path takes {takes}" if takes else nearest(path, [one for one in paths if len(one) > 1])
            what, code = f"there is no {request.method} {path}{hint}", "unknown_path"
        elif what == "There was an error parsing the body":  # FastAPI's, of other bytes than UTF-8, or nested too deep
            what, code = "the body cannot be read: send JSON in UTF-8, not compressed", "invalid_request"
        return error_response(error.status_code, what, code=code, headers=error.headers)

    @api.exception_handler(Exception)
    async def broken(_: Request, error: Exception) -> Response:  # noqa: ARG001 - the server logs it
        return error_response(500, BROKEN, code="internal_error")


def param_of(place: Iterable[Any]) -> str:
    """The place of a field as OpenAI writes it, such as `messages[0].role`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).lstrip(".")


def _place(fault: Any) -> list[Any]:
    return [one for one in fault["loc"][1:] if isinstance(one, int) or not (one in _KINDS or "[" in one)]


def _fields_of_body(request: Request) -> list[str]:
    """The fields of the model that the route of a request reads its body with."""
    body = getattr(request.scope.get("route"), "body_field", None)
    return list(getattr(body.field_info.annotation, "model_fields", ())) if body else []


def model_fault(error: ModelError) -> tuple[int, str, str]:
    """Status, text and code for the client."""
    if isinstance(error, ModelTimeoutError):
        return 504, error.message, "model_timeout"
    if isinstance(error, ModelBusyError):
        return 503, "the model answers as many questions as it can; try again soon", "overloaded"
    if isinstance(error, SearchError):
        return 503, "the passages cannot be searched now; try again soon", "search_unavailable"
    return 502, "the model gave no answer", "model_error"
