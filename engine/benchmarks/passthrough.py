"""The least that a gateway in Python can do, for comparison: bytes in, bytes out, no checks, no keys, no records.

    .venv/bin/python engine/benchmarks/passthrough.py httpx|aiohttp PORT UPSTREAM     # started by service_speed.py

`httpx`: FastAPI behind uvicorn, httpx in front of the upstream, as most gateways are built. `aiohttp`: the same job
with aiohttp on both sides, which is about as fast as Python gets.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

PATH = "/v1/chat/completions"
HEADERS = {"content-type": "application/json"}


def with_httpx(port: int, upstream: str) -> None:
    import httpx
    import uvicorn
    from fastapi import FastAPI, Request
    from fastapi.responses import Response, StreamingResponse

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        limits = httpx.Limits(max_connections=256, max_keepalive_connections=20)  # 20 is httpx's own default
        async with httpx.AsyncClient(limits=limits, timeout=30, trust_env=False) as app.state.client:
            yield

    app = FastAPI(lifespan=lifespan)

    # Not `Request` by a postponed annotation: FastAPI could not resolve it inside a function.
    async def chat(request: Any) -> Any:
        body, client = await request.body(), app.state.client
        if b'"stream": true' not in body:
            reply = await client.post(upstream + "/chat/completions", content=body, headers=HEADERS)
            return Response(reply.content, reply.status_code, media_type="application/json")

        async def relay() -> AsyncIterator[bytes]:
            async with client.stream("POST", upstream + "/chat/completions", content=body, headers=HEADERS) as reply:
                async for chunk in reply.aiter_raw():
                    yield chunk

        return StreamingResponse(relay(), media_type="text/event-stream")

    chat.__annotations__ = {"request": Request}
    app.post(PATH)(chat)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False)


def with_aiohttp(port: int, upstream: str) -> None:
    import aiohttp
    import uvloop
    from aiohttp import web

    session = web.AppKey("session", aiohttp.ClientSession)

    async def opened(app: web.Application) -> AsyncIterator[None]:
        connector = aiohttp.TCPConnector(limit=256)
        async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as app[session]:
            yield

    async def chat(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        async with request.app[session].post(upstream + "/chat/completions", data=body, headers=HEADERS) as reply:
            if b'"stream": true' not in body:
                return web.Response(body=await reply.read(), status=reply.status, content_type="application/json")
            out = web.StreamResponse(headers={"content-type": "text/event-stream"})
            await out.prepare(request)
            async for chunk in reply.content.iter_any():
                await out.write(chunk)
            return out

    async def build() -> web.Application:
        app = web.Application()
        app.cleanup_ctx.append(opened)
        app.router.add_post(PATH, chat)
        return app

    uvloop.install()
    web.run_app(build(), host="127.0.0.1", port=port, access_log=None, print=None)


if __name__ == "__main__":
    {"httpx": with_httpx, "aiohttp": with_aiohttp}[sys.argv[1]](int(sys.argv[2]), sys.argv[3])
