"""The conversations as a part of the service: their paths, and what is put around the API."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from pydantic import BaseModel, ConfigDict
from starlette.responses import JSONResponse, Response

from sluice.core.settings import load_settings
from sluice.extras.conversations.middleware import (
    ConversationMiddleware,
    ConversationRunner,
    bad_person,
    owner_of,
    unavailable,
    unknown,
)
from sluice.extras.conversations.settings import ConversationSettings
from sluice.retrieval.postgres_connections import RetrievalError
from sluice.retrieval.store_schema import open_tables
from sluice.serving import openapi as documents
from sluice.serving.routing import needs_scope

if TYPE_CHECKING:
    from sluice.extras.conversations.store import Conversation, ConversationStore, Owner
    from sluice.retrieval.stores import Stores

_STATUSES = (400, 401, 403, 404, 413, 429, 500, 503)


class NewConversation(BaseModel):
    """Nothing can be set: who asks decides whose it is."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def migrations() -> Path:
    """The tables of this extra, for `sluice index migrate`."""
    from sluice.extras.conversations.store import MIGRATIONS

    return MIGRATIONS


@contextmanager
def open_conversations(stores: Stores, state: Path) -> Iterator[Any]:
    """Conversations of a service, where there is a config/conversations.yaml.

    Args:
        stores: config/stores.yaml; the default one keeps them.
        state: the .sluice/ folder.

    Yields:
        What adds them to the API.

    Raises:
        SluiceError: the settings are not valid, or the store cannot be used.
    """
    path = state.parent / "config" / "conversations.yaml"
    if not path.exists():
        yield lambda _, application, __: (application, lambda app: app)
        return
    from sluice.extras.conversations.store import ConversationStore  # imports LangGraph

    settings = load_settings(path, ConversationSettings)
    with open_tables(stores, state, "conversations", lambda _: None) as pool:
        store = ConversationStore(pool, settings)

        def add(api: FastAPI, application: Any, _: Any) -> tuple[Any, Any]:
            add_routes(api, store)
            seconds = application.services.settings.llm.timeout_seconds
            wrap = partial(ConversationMiddleware, store=store, seconds=seconds)
            return ConversationRunner(application, settings.history_tokens), wrap

        yield add


def add_routes(api: FastAPI, store: ConversationStore) -> None:
    """Adds the paths of conversations and people.

    Args:
        api: the service's.
        store: keeps them.
    """
    replies = documents.failures(*_STATUSES) | {200: {"model": dict[str, Any]}}
    described: dict[str, Any] = {"responses": replies, "openapi_extra": needs_scope("chat")}

    @api.exception_handler(RetrievalError)
    async def failed(_: Request, error: RetrievalError) -> Response:
        return unavailable(error)

    async def of_owner(connection: Request, work: Any, *values: str) -> Any:
        owner = owner_of(connection.scope)
        return bad_person() if owner is None else await asyncio.to_thread(work, owner, *values)

    def shown(found: Conversation | Response) -> Response:
        if isinstance(found, Response):
            return found
        created = int(found.created.timestamp())
        return JSONResponse(
            {"id": found.id, "object": "conversation", "created_at": created, "messages": found.messages}
        )

    @api.post("/v1/conversations", **described)
    async def create(connection: Request, _: NewConversation | None = None) -> Response:
        """A new conversation of the caller's key and of the person whom `x-sluice-person` names."""
        return shown(await of_owner(connection, store.create))

    @api.get("/v1/conversations/{conversation}", **described)
    async def read(conversation: str, connection: Request) -> Response:
        """A conversation with its messages."""
        return shown(await of_owner(connection, _if_known(store.read), conversation))

    @api.delete("/v1/conversations/{conversation}", **described)
    async def delete(conversation: str, connection: Request) -> Response:
        """Deletes a conversation."""
        done = await of_owner(connection, _if_known(store.delete), conversation)
        return done or JSONResponse({"id": conversation, "object": "conversation.deleted", "deleted": True})

    @api.delete("/v1/people/{person}", **described)
    async def erase(person: str, connection: Request) -> Response:
        """Deletes all conversations of a person of this key; traces and feedback go with the next sweep."""
        owner = owner_of(connection.scope, person)
        if owner is None:
            return bad_person()
        count = await asyncio.to_thread(store.delete_person, owner)
        return JSONResponse({"id": person, "object": "person.deleted", "conversations": count, "swept": False})


def _if_known(work: Any) -> Any:
    """The work, with 404 in place of its error."""
    from sluice.extras.conversations.store import UnknownConversationError

    def tried(owner: Owner, name: str) -> Any:
        try:
            return work(owner, name)
        except UnknownConversationError:
            return unknown()

    return tried
