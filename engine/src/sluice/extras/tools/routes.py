"""The paths under `/v1/approvals`. They need the scope `approve`, which keys for asking questions don't have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from fastapi import FastAPI, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from sluice.extras.tools.settings import KEPT
from sluice.serving import openapi as documents
from sluice.serving.answer import Answer
from sluice.serving.auth import caller_of
from sluice.serving.routing import needs_scope
from sluice.serving.runner import ApplicationRunner
from sluice.serving.telemetry.traces import current_trace


class DecisionRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    decision: Literal["approve", "deny"]
    reason: str = Field("", max_length=500)


def add_routes(api: FastAPI, release: str, application: ApplicationRunner, count: Callable[[Answer], None]) -> None:
    agent = application.services.kept.get(KEPT)
    if agent is None:
        return
    scope = needs_scope("approve")
    replies = documents.answers(dict[str, Any], 401, 403, 429)
    one = documents.answers(dict[str, Any], 400, 401, 403, 409, 429, 500, 502, 503, 504)
    one |= {404: {"model": documents.ErrorReply, "description": "There is no such approval."}}

    @api.get("/v1/approvals", responses=replies, openapi_extra=scope)
    async def approvals(connection: Request) -> JSONResponse:
        """Return the pending and decided approvals of the key's tenant."""
        found = await agent.approvals.all(caller_of(connection.scope).tenant)
        return JSONResponse({"object": "list", "data": [approval.shown() for approval in found]})

    @api.get("/v1/approvals/{name}", responses=one, openapi_extra=scope)
    async def approval(name: str, connection: Request) -> JSONResponse:
        """One of them."""
        return JSONResponse((await agent.approvals.find(name, caller_of(connection.scope).tenant)).shown())

    @api.post("/v1/approvals/{name}", responses=one, openapi_extra=scope)
    async def decide(name: str, request: DecisionRequest, connection: Request) -> JSONResponse:
        """Approves or denies, once; the question goes on, and its answer is in the reply."""
        from sluice.extras.tools.agent import RESUMED, Resumption

        caller, approve = caller_of(connection.scope), request.decision == "approve"
        current_trace().tenant = caller.tenant or ""
        if not await agent.waits((await agent.approvals.find(name, caller.tenant)).thread):
            raise HTTPException(409, "nothing is waiting for it: it was decided, or the process that asked has ended")
        about = {"by": caller.key, "reason": request.reason, "release": release}
        found = await agent.approvals.decide(name, caller.tenant, approve=approve, **about)
        token = RESUMED.set(Resumption(found, approve))
        try:
            answer = await application.answer(found.conversation, tenant=caller.tenant)
        finally:
            RESUMED.reset(token)
            if not await agent.waits(found.thread):
                await agent.forget(found.thread)
        count(answer)
        found = await agent.approvals.find(name, caller.tenant)
        return JSONResponse(found.shown() | {"answer": answer.text, "blocked": answer.blocked, "steps": answer.steps})
