"""The page and the routes of the prompt lab, below /try. `sluice try` alone has them, and serves this machine only:
serving/auth.py checks `Host` and `Origin` of each request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from importlib import resources
from typing import Any

from fastapi import FastAPI, Request
from starlette.responses import JSONResponse, Response

from sluice.core.errors import SluiceError
from sluice.core.settings import Settings
from sluice.core.workspace import Workspace
from sluice.extras.prompt_lab.lab import PromptLab
from sluice.serving.chat_page import load_page, page_headers
from sluice.serving.release_parts import ReleaseBundle
from sluice.serving.replies import EventStream, error_response, event


class EditedPrompt(Settings):
    """The text of the editor, and the digest of the file that it loaded."""

    text: str
    digest: str = ""


def prompt_lab(workspace: Workspace, bundle: ReleaseBundle) -> Callable[..., Any]:
    """Make the part of a service that has the prompt lab, as `create_app` takes it."""

    def add(api: FastAPI, application: Any, _metrics: Any) -> Any:
        lab = PromptLab(workspace, bundle, application)
        _add_routes(api, lab, bundle)
        return lab, lambda app: app

    return add


def _add_routes(api: FastAPI, lab: PromptLab, bundle: ReleaseBundle) -> None:
    def text_of(package: str, name: str) -> str:
        return resources.files(package).joinpath(name).read_text(encoding="utf-8")

    html = text_of("sluice.extras.prompt_lab", "index.html")
    html = html.replace("/* house.css */", text_of("sluice.core.html_theme", "house.css"))
    chat, headers = load_page(bundle.service.page)
    framed = {
        name: value.replace("frame-ancestors 'none'", "frame-ancestors 'self'") for name, value in headers.items()
    }

    @api.exception_handler(SluiceError)
    async def refused(_: Request, error: SluiceError) -> Response:
        return error_response(400, str(error), code="invalid_prompt")

    @api.get("/try", include_in_schema=False)
    async def page() -> Response:
        """The editor beside the chat."""
        return Response(html, media_type="text/html", headers=page_headers(html, frames="'self'"))

    @api.get("/try/chat", include_in_schema=False)
    async def framed_chat() -> Response:
        """The chat page, which the page of the editor may show in a frame."""
        return Response(chat, media_type="text/html", headers=framed)

    @api.get("/try/prompt", include_in_schema=False)
    async def prompt() -> Response:
        """The prompt on disk."""
        return JSONResponse(lab.load())

    @api.post("/try/compare", include_in_schema=False)
    async def compare(edited: EditedPrompt, connection: Request) -> Response:
        """Rows and a verdict, as server-sent events. They end when the page has gone."""
        gone = asyncio.ensure_future(connection.receive())  # after the body only one message can come
        try:
            items = await lab.compare(edited.text, gone)
        except BaseException:
            gone.cancel()
            raise
        return EventStream(_events(items), items, media_type="text/event-stream")

    @api.post("/try/keep", include_in_schema=False)
    async def keep(edited: EditedPrompt) -> Response:
        """Write the prompt to disk."""
        return JSONResponse(await asyncio.to_thread(lab.keep, edited.text, edited.digest))


async def _events(items: AsyncGenerator[dict[str, Any], None]) -> AsyncGenerator[bytes, None]:
    try:
        async for item in items:
            yield event(item)
    except SluiceError as error:
        yield event({"type": "error", "message": str(error)})
