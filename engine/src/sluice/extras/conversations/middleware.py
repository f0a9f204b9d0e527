"""Conversations around the API: the middleware takes one for a request, the application is asked with its history.

x-sluice-conversation   an id of POST /v1/conversations: the request has the new message alone
x-sluice-person         whom the caller asks for, in his own words: a conversation is that person's
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers

from sluice.extras.conversations.store import (
    BusyConversationError,
    ConversationStore,
    Messages,
    Owner,
    UnknownConversationError,
)
from sluice.retrieval.postgres_connections import RetrievalError
from sluice.serving.answer import Answer
from sluice.serving.auth import caller_of
from sluice.serving.middleware import is_chat
from sluice.serving.replies import error_response
from sluice.serving.request_state import current_request
from sluice.serving.telemetry.traces import current_trace

if TYPE_CHECKING:
    from starlette.responses import JSONResponse
    from starlette.types import ASGIApp, Receive, Scope, Send

CONVERSATION, PERSON = "x-sluice-conversation", "x-sluice-person"
_PERSON = re.compile(r"[!-~]{1,128}")
_GRACE = 30.0  # seconds that an answer takes beside its model
_log = logging.getLogger(__name__)


@dataclass
class KeptAnswer:
    """One answer of a conversation. `kept`: its messages, when it is whole."""

    history: Messages
    kept: Messages = field(default_factory=list)


_KEPT: ContextVar[KeptAnswer | None] = ContextVar("sluice_kept_answer", default=None)


def owner_of(scope: Scope, person: str | None = None) -> Owner | None:
    """Whose a request is; None for a person that cannot be one.

    Args:
        scope: of the request.
        person: default: of its header.
    """
    caller, person = caller_of(scope), person or Headers(scope=scope).get(PERSON)
    if person is not None and not _PERSON.fullmatch(person):
        return None
    return Owner(caller.tenant or "", caller.key or "", person or "")


class ConversationRunner:
    """An application that is asked with the conversation of the request, and whose answers are kept in it."""

    def __init__(self, inner: Any, tokens: int) -> None:
        self._inner = inner
        self._tokens = tokens
        self.services = inner.services

    async def answer(self, messages: Messages, **options: Any) -> Answer:
        """As of ApplicationRunner."""
        found: Answer = await self._inner.answer(self._whole(messages), **options)
        _keep(found)
        return found

    async def stream(self, messages: Messages, **options: Any) -> AsyncGenerator[str | Answer, None]:
        """As of ApplicationRunner."""
        async with aclosing(self._inner.stream(self._whole(messages), **options)) as items:
            async for item in items:
                if isinstance(item, Answer):
                    _keep(item)
                yield item

    def _whole(self, messages: Messages) -> Messages:
        turn = _KEPT.get()
        return [*latest(turn.history, self._tokens), *messages] if turn else messages


def latest(history: Messages, tokens: int) -> Messages:
    """The newest turns of a conversation, as many as have so many tokens, about.

    Args:
        history: all messages.
        tokens: of those that are given.

    Returns:
        Messages with role and content; the first is a user's.
    """
    from langchain_core.messages import trim_messages
    from langchain_core.messages.utils import count_tokens_approximately

    told = [{"role": one["role"], "content": one["content"]} for one in history]
    limits: dict[str, Any] = {"max_tokens": tokens, "token_counter": count_tokens_approximately, "start_on": "human"}
    kept = trim_messages(told, strategy="last", **limits)
    return told[len(told) - len(kept) :]


def _keep(answer: Answer) -> None:
    """Question and answer as the guards let them pass. What a guard refused is not kept, nor what waits for the result
    of a tool."""
    turn = _KEPT.get()
    if turn is None or answer.blocked or answer.tool_calls:
        return
    said = {"user": current_request().question, "assistant": answer.text}
    trace = current_trace().trace_id
    turn.kept = [{"role": role, "content": text, "trace": trace} for role, text in said.items()]


class ConversationMiddleware:
    """Plain ASGI: 404 for a conversation that is not the caller's, 409 while another answer of it is made."""

    def __init__(self, app: ASGIApp, store: ConversationStore, seconds: float) -> None:
        self._app = app
        self._store = store
        self._seconds = seconds + _GRACE

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope) if is_chat(scope) else {}
        name = headers.get(CONVERSATION)
        if name is None and PERSON not in headers:
            await self._app(scope, receive, send)
            return
        owner = owner_of(scope)
        if owner is None:
            await bad_person()(scope, receive, send)
            return
        try:
            trace = current_trace().trace_id
            history = await asyncio.to_thread(self._store.begin, owner, name, trace, self._seconds)
        except UnknownConversationError:
            await unknown()(scope, receive, send)
        except BusyConversationError:
            message = "another question of this conversation is being answered"
            response = error_response(409, message, code="conversation_busy", headers={"retry-after": "1"})
            await response(scope, receive, send)
        except RetrievalError as error:
            await unavailable(error)(scope, receive, send)
        else:
            await self._answered(scope, receive, send, name, KeptAnswer(history))

    async def _answered(self, scope: Scope, receive: Receive, send: Send, name: str | None, turn: KeptAnswer) -> None:
        token = _KEPT.set(turn if name is not None else None)
        try:
            await self._app(scope, receive, send)
        finally:
            _KEPT.reset(token)
            if name is not None:
                try:
                    await asyncio.to_thread(self._store.end, name, turn.kept)
                except RetrievalError as error:
                    _log.error("a turn of a conversation was not kept: %s", error)


def unknown() -> JSONResponse:
    return error_response(404, "there is no such conversation", code="unknown_conversation")


def bad_person() -> JSONResponse:
    message = f"{PERSON}: 1 to 128 visible characters of ASCII"
    return error_response(400, message, param=PERSON, code="invalid_request")


def unavailable(error: Exception) -> JSONResponse:
    _log.error("conversations cannot be reached: %s", error)
    message = "conversations cannot be reached now; try again soon"
    return error_response(503, message, code="conversation_unavailable", headers={"retry-after": "1"})
