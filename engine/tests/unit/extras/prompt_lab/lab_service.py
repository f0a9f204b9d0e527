"""The prompt lab over a scripted model that answers briefly when the prompt says so."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from starlette.types import ASGIApp

from sluice.core.atomic_files import write_json
from sluice.core.workspace import Workspace
from sluice.data.rows import load_rows
from sluice.evaluation.asked_rows import asking_order
from sluice.extras.prompt_lab.lab import prompt_lab
from sluice.llm.chat import Delta, Messages, Usage
from sluice.prompts import ModelParameters, load_prompts
from sluice.retrieval import Hit
from sluice.serving.http_api import create_app
from sluice.serving.middleware import TrafficState
from sluice.serving.server import listen
from sluice.testing.fakes import CHUNKS, DECLINE, hit, run_application, scripted_bundle

REPLIES = {
    "overlap": "Neighbouring chunks share 64 tokens.",
    "small share": "That is a canary.",
    "Who is paged": "The person on call is paged.",
    "licence": DECLINE,
}
BRIEF = "Answer in one word."


def key_of(question: str) -> str:
    (key,) = [key for key in REPLIES if key in question]
    return key


def keys_in_order(workspace: Workspace) -> list[str]:
    return [key_of(row.question) for row in asking_order(load_rows(workspace.data / "eval.jsonl"))]


class Chat:
    """Says the first word alone where the prompt asks for it, after `gate`."""

    def __init__(self) -> None:
        self.gate: Callable[[str], Awaitable[Any]] | None = None
        self.asked: list[str] = []

    async def stream(
        self,
        messages: Messages,
        parameters: ModelParameters,  # noqa: ARG002
        *,
        deadline: float,  # noqa: ARG002
    ) -> AsyncGenerator[Delta, None]:
        key = key_of(messages[-1]["content"].rsplit("Question:")[-1])
        brief = BRIEF in messages[0]["content"]
        self.asked.append(REPLIES[key])
        if brief and self.gate:
            await self.gate(key)
        yield Delta(REPLIES[key].split()[0] if brief else REPLIES[key])
        yield Delta(finish_reason="stop", usage=Usage(11, 2))


class Search:
    class embedder:  # noqa: N801
        @staticmethod
        def embed(texts: list[str]) -> Any:
            return np.ones((len(texts), 1))

    def search(self, question: str, *, k: int, tenant: str | None = None) -> list[Hit]:  # noqa: ARG002
        return [hit(CHUNKS, doc_id="chunking", title="Chunking")]


def lab_app(workspace: Workspace, chat: Chat, traffic: TrafficState) -> ASGIApp:
    folder = workspace.root.parent
    write_json(folder / "index" / "index.json", {"digest": "0" * 64})
    file = folder / "model.gguf"
    file.write_bytes(b"weights")
    prompts = load_prompts(workspace.prompts)
    bundle = replace(
        scripted_bundle(), index=folder / "index", prompts=prompts, release="draft", model=file, embedder=file
    )
    application = run_application(chat, Search(), bundle=bundle)  # type: ignore[arg-type]
    return create_app(bundle, application, traffic, parts=[prompt_lab(workspace, bundle)])


def within(app: Any, steps: Callable[[httpx.AsyncClient], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080") as client:
            return await steps(client)

    return asyncio.run(run())


async def _existence(path: Path) -> None:
    while not path.exists():
        await asyncio.sleep(0.02)


def run_service(port: int, root: str) -> None:
    """Serve the lab for child processes; a brief answer waits for the file of its key in `gates`."""
    workspace, traffic = Workspace(Path(root)), TrafficState()
    folder = workspace.root.parent
    chat = Chat()
    chat.gate = lambda key: _existence(folder / "gates" / key)
    listen(lab_app(workspace, chat, traffic), traffic, "127.0.0.1", port, drain_seconds=60)
