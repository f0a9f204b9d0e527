"""A played vLLM: `python played_vllm.py PORT BASE [MIDDLEWARE]`. It answers as the real one does, after the source of
vLLM 0.32.0:

- entrypoints/openai/models/serving.py: what is registered is kept in memory alone (:111) and is gone with the process;
  /v1/models lists base and adapters with `root`, an adapter with its base as `parent` (:63-73, :149-165; the fields are
  those of entrypoints/openai/engine/protocol.py, ModelCard); registering reads the adapter (:194-214), and a name that
  is there is refused (:266-275); unregistering an unknown name is 404 (:288-296)
- lora/worker_manager.py:159-165 and exceptions.py:76-84: a folder without adapter_config.json is 404, in these words
- lora/peft_helper.py:193-198: a rank above --max-lora-rank is refused by the worker; v1/executor/
  multiproc_executor.py:445 (a CPU, or several GPUs) and v1/engine/core.py:1751 put their words around it, and
  serving.py:208-213 makes it HTTP 500
- entrypoints/serve/engine/serving.py:76-84: a model that is not there is 404, NotFoundError
- entrypoints/serve/middleware/register.py:65-69: `--middleware` is a class by its path, put around all of it

The weights decide nothing here: an adapter says what `says` in its safetensors' metadata is, as it was when it was
registered. The test of two releases takes the real one, too.
"""

import importlib
import json
import struct
import sys
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

BASE, BASE_SAYS, MAX_RANK = "base", "base", 16
said = {BASE: BASE_SAYS}
roots = {BASE: ""}


def failure(status: int, message: str, kind: str, param: str | None = None) -> Response:
    return JSONResponse({"error": {"message": message, "type": kind, "param": param, "code": status}}, status)


async def health(_: Request) -> Response:
    return Response(status_code=200)


async def models(_: Request) -> Response:
    cards = [
        {"id": name, "object": "model", "created": 1767225600, "owned_by": "vllm", "root": root, "permission": []}
        | ({"parent": None, "max_model_len": 4096} if name == BASE else {"parent": BASE, "max_model_len": None})
        for name, root in roots.items()
    ]
    return JSONResponse({"object": "list", "data": cards})


async def load(request: Request) -> Response:
    asked = await request.json()
    name, path = asked["lora_name"], asked["lora_path"]
    if name in roots:
        what = "has already been loaded. If you want to load the adapter in place, set 'load_inplace' to True."
        return failure(400, f"The lora adapter '{name}' {what}", "InvalidUserInput")
    try:
        config = json.loads((Path(path) / "adapter_config.json").read_bytes())
    except FileNotFoundError:
        return failure(404, f"Loading lora {name} failed: No adapter found for {path}", "NotFoundError")
    if config["r"] > MAX_RANK:
        around = "please check the stack trace above for the root cause"
        what = f"Worker failed with error 'LoRA rank {config['r']} is greater than max_lora_rank {MAX_RANK}.', {around}"
        return failure(500, f"Call to add_lora method failed: {what}", "InternalServerError")
    weights = (Path(path) / "adapter_model.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", weights[:8])
    said[name] = json.loads(weights[8 : 8 + length])["__metadata__"]["says"]
    roots[name] = path
    return PlainTextResponse(f"Success: LoRA adapter '{name}' added successfully.")


async def unload(request: Request) -> Response:
    name = (await request.json())["lora_name"]
    if name == BASE or name not in roots:
        return failure(404, f"The lora adapter '{name}' cannot be found.", "NotFoundError")
    del roots[name], said[name]
    return PlainTextResponse(f"Success: LoRA adapter '{name}' removed successfully.")


async def chat(request: Request) -> Response:
    asked = await request.json()
    name = asked["model"]
    if name not in roots:
        return failure(404, f"The model `{name}` does not exist. Valid aliases: {BASE}.", "NotFoundError", "model")

    def chunk(**fields: Any) -> bytes:
        return b"data: " + json.dumps({"object": "chat.completion.chunk", "model": name, **fields}).encode() + b"\n\n"

    answer = said[name]
    pieces = [chunk(choices=[{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}])]
    ends = [None] * (len(answer) - 1) + ["length"]
    for letter, end in zip(answer, ends, strict=True):
        pieces.append(chunk(choices=[{"index": 0, "delta": {"content": letter}, "finish_reason": end}]))
    if (asked.get("stream_options") or {}).get("include_usage"):
        usage = {"prompt_tokens": 4, "completion_tokens": len(answer), "total_tokens": 4 + len(answer)}
        pieces.append(chunk(choices=[], usage=usage))
    return StreamingResponse(iter([*pieces, b"data: [DONE]\n\n"]), media_type="text/event-stream")


def played(middleware: str = "") -> Starlette:
    """The server; `middleware` as `--middleware` of the real one."""
    routes = [
        Route("/health", health),
        Route("/v1/models", models),
        Route("/v1/load_lora_adapter", load, methods=["POST"]),
        Route("/v1/unload_lora_adapter", unload, methods=["POST"]),
        Route("/v1/chat/completions", chat, methods=["POST"]),
    ]
    app = Starlette(routes=routes)
    if middleware:
        module, name = middleware.rsplit(".", 1)
        app.add_middleware(getattr(importlib.import_module(module), name))
    return app


if __name__ == "__main__":
    roots[BASE] = sys.argv[2]
    uvicorn.run(played(*sys.argv[3:]), host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
