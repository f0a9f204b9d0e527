"""How much of the tokens a second of bare llama.cpp is left when the whole service stands before it, in one run.

    .venv/bin/python engine/benchmarks/local_tokens.py [--questions 12] [--rounds 3] [--in-flight 1,2,4]

Two servers with the same model, threads, slots and context (config/service.yaml): llama.cpp's own, which gets the
rendered prompts, and the service, which gets the questions and does everything: key, guards, search, citations, traces.
Both answer the same questions in turns, at 1, 2 and 4 in flight; no question comes twice, so that it is in no cache.
Needs data/ (`dvc pull`) and a quiet machine. Prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from service_speed import answers, make_index

from sluice.core.processes import free_port, wait_until
from sluice.core.settings import load_settings
from sluice.core.workspace import Workspace
from sluice.data.rows import load_rows
from sluice.llm.llama_server import LocalServer
from sluice.retrieval import format_passages
from sluice.retrieval.embedder import Embedder
from sluice.retrieval.retriever import open_retriever
from sluice.retrieval.stores import Stores
from sluice.serving.api_keys import SCOPES, VARIABLE, add_key
from sluice.serving.release_parts import PROMPT, ReleaseBundle, draft_bundle
from sluice.serving.server import serve
from sluice.serving.telemetry.settings import TelemetrySettings

Body = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Asked:
    """One question, as the service and as bare llama.cpp get it."""

    service: Body
    bare: Body


def bundle_of(workspace: Workspace, state: Path) -> ReleaseBundle:
    return dataclasses.replace(draft_bundle(workspace, adapter=None), index=state / "index")


def run_service(workspace: Workspace, state: Path, port: int) -> None:
    telemetry = load_settings(workspace.config / "telemetry.yaml", TelemetrySettings)
    stores = load_settings(workspace.config / "stores.yaml", Stores)
    serve(bundle_of(workspace, state), "127.0.0.1", port, stores=stores, state=state, telemetry=telemetry)


def run_bare(workspace: Workspace, state: Path, address: Path) -> None:
    """Writes where llama.cpp listens to the file `address`."""
    bundle = bundle_of(workspace, state)
    llm = bundle.service.llm
    with LocalServer(bundle.model, threads=llm.threads, slots=llm.slots, context=llm.context) as server:
        address.write_text(server.base_url)
        signal.pause()


def questions_of(workspace: Workspace, state: Path) -> list[Asked]:
    """Those that the service does not decline by itself."""
    bundle = bundle_of(workspace, state)
    retrieval, prompt = bundle.service.retrieval, bundle.prompts[PROMPT]
    stores = load_settings(workspace.config / "stores.yaml", Stores)
    rows = [row for name in ("eval", "train") for row in load_rows(workspace.data / f"{name}.jsonl") if row.answers]
    found = []
    with Embedder(bundle.embedder) as embedder, open_retriever(bundle.index, embedder, stores, state) as retriever:
        for row in rows:
            hits = retriever.search(row.question, k=retrieval.k)
            if max(hit.similarity for hit in hits) < retrieval.min_similarity:
                continue
            passages = format_passages(hits)
            messages = prompt.render(question=row.question, passages=passages, decline=bundle.service.decline)
            given = prompt.parameters
            bare = {"messages": messages, "max_tokens": given.max_tokens, "temperature": given.temperature}
            found.append(Asked({"model": "local", "messages": [{"role": "user", "content": row.question}]}, bare))
    return found


async def tokens_a_second(url: str, bodies: list[Body], key: str, in_flight: int) -> float:
    tokens, left = 0, iter(bodies)

    async def worker(client: httpx.AsyncClient) -> None:
        nonlocal tokens
        for body in left:
            reply = await client.post(f"{url}/v1/chat/completions", json=body)
            reply.raise_for_status()
            tokens += reply.json()["usage"]["completion_tokens"]

    headers = {"authorization": f"Bearer {key}"}
    socket = url.removeprefix("unix://") if url.startswith("unix://") else None
    transport = httpx.AsyncHTTPTransport(uds=socket) if socket else None
    url = "http://localhost" if socket else url
    async with httpx.AsyncClient(timeout=120, trust_env=False, headers=headers, transport=transport) as client:
        began = time.perf_counter()
        await asyncio.gather(*(worker(client) for _ in range(in_flight)))
        return tokens / (time.perf_counter() - began)


@contextmanager
def child(state: Path, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """This file again, as one of the two servers."""
    with (state / f"{words[0]}.log").open("w") as log:
        process = subprocess.Popen([sys.executable, __file__, *words, str(state)], stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def compare(workspace: Workspace, state: Path, key: str, options: argparse.Namespace) -> None:
    make_index(workspace, state)
    asked = iter(questions_of(workspace, state))
    port, address = free_port(), state / "address"
    with child(state, "serve", str(port)) as service, child(state, "bare", str(address)):
        if not wait_until(lambda: address.exists() and answers(port), seconds=120):
            raise RuntimeError((state / "serve.log").read_text() + (state / "bare.log").read_text())
        urls = {"service": f"http://127.0.0.1:{port}", "bare": address.read_text()}
        print("| in flight | bare: tokens/s | through the service | ratio |\n|---|---|---|---|")
        for in_flight in map(int, options.in_flight.split(",")):
            rates: dict[str, list[float]] = {"bare": [], "service": []}
            for number in range(options.rounds):
                chosen = [next(asked) for _ in range(options.questions)]
                for name in sorted(rates, reverse=bool(number % 2)):
                    bodies = [getattr(each, name) for each in chosen]
                    rates[name].append(asyncio.run(tokens_a_second(urls[name], bodies, key, in_flight)))
            ratio = statistics.median(s / b for s, b in zip(rates["service"], rates["bare"], strict=True))
            bare, through = (statistics.median(rates[name]) for name in ("bare", "service"))
            print(f"| {in_flight} | {bare:.1f} | {through:.1f} | {ratio:.3f} |", flush=True)
            if service.poll() is not None:
                raise RuntimeError((state / "serve.log").read_text())


def main() -> int:
    workspace = Workspace.find()
    if sys.argv[1:2] == ["serve"]:
        run_service(workspace, Path(sys.argv[3]), int(sys.argv[2]))
        return 0
    if sys.argv[1:2] == ["bare"]:
        run_bare(workspace, Path(sys.argv[3]), Path(sys.argv[2]))
        return 0
    parser = argparse.ArgumentParser()
    parser.add_argument("--questions", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--in-flight", default="1,2,4")
    options = parser.parse_args()
    state = Path(tempfile.mkdtemp(prefix="speed"))  # short: a socket's path may have 100 characters
    os.environ.pop(VARIABLE, None)  # the service asks for the key of this run
    key = add_key(state / "keys.json", "bench", tenant=None, scopes=SCOPES, rate=10_000_000)
    try:
        compare(workspace, state, key, options)
    finally:
        shutil.rmtree(state, ignore_errors=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
