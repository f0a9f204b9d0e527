"""How fast one worker of the service is on one core, beside pass-throughs that check nothing, in one run.

    .venv/bin/python engine/benchmarks/service_speed.py [--seconds 5] [--rounds 1] [--only rag,httpx] [--peer
    NAME=COMMAND]

Needs data/ (`dvc pull`), two cores and a quiet machine. Core 0 has the server under test and nothing else; core 1 has
the stub upstream, PostgreSQL and the load. The upstream answers from memory: a whole answer, or 32 events for a stream.
The pass-throughs hand on what their caller asked for; the service always asks its upstream for a stream
(engine/docs/decisions/below-langchain.md), so it reads 32 events for every answer. Load is a closed loop over kept
connections. Prints a table in Markdown: requests a second at 16 in flight with the server's CPU time for each, the
middle latency at 1 in flight less that of the stub asked directly, and the server's resident memory after the load.
engine/docs/decisions/service-speed.md has the main figures. On a busy machine only the CPU times say something. `chat`
asks with ten equal sentences, `others` with ten that never come again.

`--peer` measures another server too: a command that listens on {port}, asks the upstream {upstream}, and takes {key}.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import uvloop
from providers import serve as serve_stub

from sluice.core.params import load_params
from sluice.core.processes import free_port, wait_until
from sluice.core.settings import load_settings
from sluice.core.workspace import Workspace
from sluice.data.rows import load_corpus, load_rows
from sluice.llm.model_files import ensure, load_models
from sluice.retrieval.embedder import Embedder
from sluice.retrieval.index_files import build_index
from sluice.retrieval.index_stage import IndexParameters
from sluice.retrieval.stores import Stores, open_store
from sluice.serving.api_keys import SCOPES, add_key

HERE = Path(__file__).parent
SERVER_CORE, OTHER_CORE = 0, 1
PATH = "/v1/chat/completions"
TURN = "We run a support desk for a few hundred customers, who read the manual on paper. "
Question = Callable[[int], str]


@dataclass(frozen=True)
class Subject:
    """`command` has {port}, {upstream}, {state} and {key} to be filled in."""

    name: str
    command: str
    question: Question
    whole: bytes = b"Paris"  # what the stub says in one piece; in a stream its last word is token28
    declines: bool = False  # whether the search may find nothing near enough


@dataclass(frozen=True)
class Figures:
    """`rates`: requests a second at 16 in flight, whole and streamed; `work`: milliseconds of the server's CPU time for
    one of them; `middle`: milliseconds at 1 in flight."""

    rates: tuple[float, float]
    work: tuple[float, float]
    middle: tuple[float, float]
    mib: float


class Caller(asyncio.Protocol):
    """One kept connection that asks, waits for the whole reply, and asks again."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.buffer = b""
        self.reply: asyncio.Future[bytes] | None = None

    def ask(self, request: bytes) -> asyncio.Future[bytes]:
        self.buffer = b""
        self.reply = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self.reply

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, end, body = self.buffer.partition(b"\r\n\r\n")
        if not end or self.reply is None:
            return
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        whole = len(body) >= int(length) if length else body.endswith(b"0\r\n\r\n")
        if whole and not self.reply.done():
            self.reply.set_result(self.buffer)

    def connection_lost(self, error: Exception | None) -> None:
        if self.reply and not self.reply.done():
            self.reply.set_exception(error or ConnectionError("the server closed the connection"))


def request_of(question: str, key: str, *, stream: bool) -> bytes:
    asked: dict[str, Any] = {"model": "stub-model", "messages": [{"role": "user", "content": question}]}
    if stream:
        asked["stream"] = True
    body = json.dumps(asked).encode()
    head = (
        f"POST {PATH} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Load:
    """Every question is asked once: the number goes on over all cells of a subject."""

    def __init__(self, port: int, subject: Subject, key: str, seconds: float) -> None:
        self._port = port
        self._subject = subject
        self._key = key
        self._seconds = seconds
        self._number = 0
        self._refused = 0

    async def run(self, concurrency: int, *, stream: bool, seconds: float | None = None) -> tuple[float, float]:
        """Requests a second, and the middle latency in milliseconds. RuntimeError for an answer that is none."""
        times: list[float] = []
        until = time.perf_counter() + (seconds or self._seconds)
        expected = [b"token28" if stream else self._subject.whole, *([b"does not say"] * self._subject.declines)]

        async def worker() -> None:
            _, caller = await asyncio.get_running_loop().create_connection(Caller, "127.0.0.1", self._port)
            while (began := time.perf_counter()) < until:
                self._number += 1
                reply = await caller.ask(request_of(self._subject.question(self._number), self._key, stream=stream))
                times.append(time.perf_counter() - began)
                if b"content_filter" in reply and self._subject.declines:  # a false alarm of the guard model
                    self._refused += 1
                elif not reply.startswith(b"HTTP/1.1 200") or not any(text in reply for text in expected):
                    raise RuntimeError(f"{self._subject.name}: not an answer: {reply[-500:]!r}")
            caller.transport.close()

        began = time.perf_counter()
        await asyncio.gather(*(worker() for _ in range(concurrency)))
        return len(times) / (time.perf_counter() - began), statistics.median(times) * 1000

    async def figures(self, pid: int) -> Figures:
        rates, work, middle = [], [], []
        for stream in (False, True):
            await self.run(16, stream=stream, seconds=1)
            before, first = cpu_seconds(pid), self._number
            rates.append((await self.run(16, stream=stream))[0])
            work.append((cpu_seconds(pid) - before) / (self._number - first) * 1000)
            middle.append((await self.run(1, stream=stream))[1])
        if self._refused > self._number * 0.02:  # a refusal is cheaper than an answer
            raise RuntimeError(f"{self._subject.name}: {self._refused} of {self._number} questions were refused")
        return Figures((rates[0], rates[1]), (work[0], work[1]), (middle[0], middle[1]), resident(pid))


def cpu_seconds(pid: int) -> float:
    """User and system time of a process with all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(pid: int) -> float:
    """MiB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


@contextmanager
def stub() -> Iterator[tuple[int, int]]:
    """Process id and port."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=serve_stub, args=(there,), daemon=True)
    process.start()
    try:
        yield process.pid or 0, here.recv()
    finally:
        process.terminate()
        process.join()


@contextmanager
def running(subject: Subject, upstream: str, state: Path, key: str) -> Iterator[tuple[int, int]]:
    """The server's process id and port, once it answers at all."""
    port = free_port()
    filled = subject.command.format(port=port, upstream=upstream, state=state, key=key, python=sys.executable)
    argv = shlex.split(filled)
    with (state / "server.log").open("w") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=log)
    os.sched_setaffinity(process.pid, {SERVER_CORE})  # before it has any threads
    try:
        if not wait_until(lambda: answers(port) or process.poll() is not None, seconds=60) or process.poll():
            raise RuntimeError(f"{subject.name} does not start: {(state / 'server.log').read_text()[-2000:]}")
        yield process.pid, port
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def answers(port: int) -> bool:
    try:
        return bool(httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=1, trust_env=False).status_code)
    except httpx.TransportError:
        return False


def make_index(workspace: Workspace, state: Path) -> None:
    """The index of data/corpus, as the pipeline builds it."""
    spec = load_models(workspace.config / "models.yaml").embed
    chunker = load_params(workspace.params, "index", IndexParameters).chunker
    with Embedder(ensure(spec, workspace.cache)) as embedder:
        build_index(load_corpus(workspace.data / "corpus"), embedder, spec, chunker, state / "index")


def chat_question(number: int) -> str:
    """About 900 characters, as in a support desk's."""
    return TURN * 10 + f"How much overlap do chunks have, asked for the {number}th time?"


def subjects(workspace: Workspace, peers: list[str]) -> list[Subject]:
    questions = [row.question for row in load_rows(workspace.data / "eval.jsonl") if row.answers]

    def asked(number: int) -> str:
        return f"{questions[number % len(questions)]} ({number})"

    def other_sentences(number: int) -> str:
        """As long as `chat_question`, and no sentence of it comes twice."""
        ten = [questions[(number * 10 + place) % len(questions)] for place in range(10)]
        return " ".join(f"In case {number * 10 + place}: {each}" for place, each in enumerate(ten))[:900]

    served = f"{{python}} {HERE / 'served.py'}"
    passed = f"{{python}} {HERE / 'passthrough.py'}"
    return [
        Subject("aiohttp", passed + " aiohttp {port} {upstream}", chat_question),
        Subject("httpx", passed + " httpx {port} {upstream}", chat_question),
        *(Subject(name, command, chat_question) for name, _, command in (peer.partition("=") for peer in peers)),
        Subject("chat", served + " chat {port} {upstream} {state}", chat_question, b"token28"),
        Subject("others", served + " chat {port} {upstream} {state}", other_sentences, b"token28", declines=True),
        Subject("rag", served + " rag {port} {upstream} {state}", asked, b"token28", declines=True),
    ]


TITLES = {
    "stub": "the stub itself",
    "aiohttp": "aiohttp pass-through (the bound)",
    "httpx": "FastAPI + httpx pass-through",
    "chat": "**Sluice**, no retrieval",
    "others": "the same, every sentence another",
    "rag": "**Sluice**, full guarded RAG",
}


def print_table(found: dict[str, list[Figures]]) -> None:
    def pair(name: str, kind: str) -> list[float]:
        return [statistics.median(getattr(each, kind)[place] for each in found[name]) for place in (0, 1)]

    kinds = ("requests", "streams")
    heads = [f"{kind}/s | to pass-through | CPU ms | added ms at 1" for kind in kinds]
    print(f"| server | {' | '.join(heads)} | MiB |\n|---{'|---' * 9}|")
    direct = pair("stub", "middle")
    base = pair("httpx", "rates") if "httpx" in found else [float("nan")] * 2
    for name in found:
        rates, work, middle = pair(name, "rates"), pair(name, "work"), pair(name, "middle")
        cells = [TITLES.get(name, name)]
        for place in (0, 1):
            cells += [f"{rates[place]:,.0f}", f"{rates[place] / base[place]:.2f}", f"{work[place]:.2f}"]
            cells.append(f"{middle[place] - direct[place]:.2f}")
        print(f"| {' | '.join(cells)} | {statistics.median(each.mib for each in found[name]):.0f} |")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", default="")
    parser.add_argument("--peer", action="append", default=[])
    options = parser.parse_args()
    os.sched_setaffinity(0, {OTHER_CORE})
    workspace = Workspace.find()
    state = Path(tempfile.mkdtemp(prefix="speed"))  # short: a socket's path may have 100 characters
    key = add_key(state / "keys.json", "bench", tenant=None, scopes=SCOPES, rate=10_000_000)
    stores = load_settings(workspace.config / "stores.yaml", Stores)
    chosen = [s for s in subjects(workspace, options.peer) if not options.only or s.name in options.only.split(",")]
    found: dict[str, list[Figures]] = {"stub": []}
    try:
        if any(subject.name == "rag" for subject in chosen):
            make_index(workspace, state)
        with open_store(stores.chosen, state), stub() as (stub_pid, stub_port):
            upstream = f"http://127.0.0.1:{stub_port}/v1"
            for _ in range(options.rounds):
                direct = Load(stub_port, Subject("stub", "", chat_question), key, options.seconds)
                found["stub"].append(uvloop.run(direct.figures(stub_pid)))
                for subject in chosen:
                    with running(subject, upstream, state, key) as (pid, port):
                        load = Load(port, subject, key, options.seconds)
                        found.setdefault(subject.name, []).append(uvloop.run(load.figures(pid)))
    finally:
        shutil.rmtree(state, ignore_errors=True)
    print_table(found)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
