"""How long `sluice prompts test` takes from start to exit, beside other tools that do the same job, in one run.

    .venv/bin/python engine/benchmarks/prompt_eval_speed.py [--rounds 3] [--peer NAME=COMMAND]

The job: 2 prompts x 100 cases with the checks `contains` and `regex`, 16 requests at once, against a stub that answers
after 50 ms. No model is asked: the figures are waiting (200 / 16 x 50 ms = 0.63 s, the bound) and the tool's own work.
Cold: nothing was asked before; warm: the same again. Prints a table in Markdown with medians of wall and CPU seconds;
engine/docs/decisions/response-cache.md has some of them. `plain` is the same job in forty lines without a cache: a
floor, not a peer.

`--peer` measures another tool too: a command that runs the job in the folder it is started in, which is empty before
each cold run, asks {upstream} (also in UPSTREAM), and says that 200 of 200 have passed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import re
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvloop
from providers import SENTENCE, Stub

ROOT = Path(__file__).resolve().parents[2]
LATENCY = 0.05  # seconds
CASES = 100
CONCURRENCY = 16
TEXTS = {
    "one": "Answer in one sentence. Question {{n}}: what is the capital of France?",
    "two": "You are a geographer. Question {{n}}: name the capital of France and stop.",
}
BOUND = CASES * len(TEXTS) / CONCURRENCY * LATENCY
_PASSED = re.compile(r"PASSED 200/200|200 passed|100(\.00)?% *\(200/200|Successes: *200")
_PLAIN = """
import asyncio, os, re
import aiohttp
PROMPTS = {prompts!r}
async def main():
    gate = asyncio.Semaphore({concurrency})
    async with aiohttp.ClientSession() as session:
        async def one(text):
            body = {{"model": "stub", "messages": [{{"role": "user", "content": text}}]}}
            async with gate, session.post(os.environ["UPSTREAM"] + "/chat/completions", json=body) as reply:
                return (await reply.json())["choices"][0]["message"]["content"]
        texts = [text.replace("{{{{n}}}}", str(n)) for text in PROMPTS for n in range({cases})]
        answers = await asyncio.gather(*map(one, texts))
    print(f"PASSED {{sum('Paris' in a and bool(re.search('capital of', a)) for a in answers)}}/200")
asyncio.run(main())
"""


def _with_sentence(part: bytes) -> bytes:
    """The sentence in place of the first token; a chunk has its length in front."""
    _, _, event = part.partition(b"\r\n")
    said = event.removesuffix(b"\r\n").replace(b"token0 ", SENTENCE.encode())
    return b"%x\r\n%s\r\n" % (len(said), said) if b"token0 " in part else part


class LateStub(Stub):
    """Answers with the same sentence, whole or in events, 50 ms after it was asked."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.parts = [_with_sentence(part) for part in Stub.parts]
        self.transport = _Late(transport)


class _Late:
    def __init__(self, transport: Any) -> None:
        self._transport = transport

    def write(self, data: bytes) -> None:
        asyncio.get_running_loop().call_later(LATENCY, self._transport.write, data)


def serve(port: Any) -> None:
    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(LateStub, "127.0.0.1", 0)
        port.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    uvloop.run(run())


@contextmanager
def stub() -> Iterator[str]:
    """The address, with /v1."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=serve, args=(there,), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{here.recv()}/v1"
    finally:
        process.terminate()
        process.join()


def write_checkout(folder: Path, upstream: str) -> None:
    """Two prompts, one provider and the file of cases: all that `sluice prompts test` reads."""
    for name in ("prompts", "config"):
        (folder / name).mkdir(parents=True)
    (folder / "pyproject.toml").touch()
    shutil.copy(ROOT / "config" / "service.yaml", folder / "config")
    provider = {
        "name": "stub",
        "kind": "openai_compatible",
        "model": "stub",
        "base_url": upstream,
        "timeouts": {"connect": 2, "queue": 30, "first_token": 30},
        "retries": 0,
        "max_concurrency": CONCURRENCY,
        "breaker": {"window": 20, "failures": 10, "open_seconds": 5},
        "prices": {"input": 0, "output": 0},
    }
    embedder = {"name": "local", "kind": "local", "model": "embed"}
    providers = {"chat": [provider], "judge": [], "embed": [embedder]}
    (folder / "config" / "providers.yaml").write_text(json.dumps(providers))  # YAML holds JSON
    for name, text in TEXTS.items():
        prompt = {
            "name": name,
            "description": "For the benchmark.",
            "model": "chat",
            "modelParameters": {"temperature": 0, "maxTokens": 64},
            "messages": [{"role": "user", "content": text}],
            "variables": [{"name": "n", "type": "integer"}],
        }
        (folder / "prompts" / f"{name}.prompt.yml").write_text(json.dumps(prompt))
    expect = {"contains": ["Paris"], "regex": r"capital of \w+"}
    cases = [{"id": str(n), "vars": {"n": n}, "expect": expect} for n in range(CASES)]
    (folder / "cases.jsonl").write_text("".join(json.dumps(case) + "\n" for case in cases))


def timed(argv: list[str], folder: Path, upstream: str) -> tuple[float, float]:
    """Wall and CPU seconds of one command. RuntimeError unless all cases have passed."""
    env = os.environ | dict.fromkeys(("UPSTREAM", "OPENAI_BASE_URL"), upstream) | {"OPENAI_API_KEY": "-"}
    env.pop("PYTHONDONTWRITEBYTECODE", None)  # nobody installs tools to have them compiled anew in each run
    with tempfile.TemporaryFile("w+") as said:
        began = time.perf_counter()
        process = subprocess.Popen(argv, cwd=folder, env=env, stdout=said, stderr=said, stdin=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        text = said.read()
    if process.returncode or not _PASSED.search(text):
        raise RuntimeError(f"{argv}: exit {process.returncode}\n{text[-1500:]}")
    return wall, used.ru_utime + used.ru_stime


def measure(name: str, argv: list[str], folder: Path, upstream: str) -> dict[str, tuple[float, float]]:
    """A cold and a warm run in an empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    if name == "sluice":
        write_checkout(folder, upstream)
    return {"cold": timed(argv, folder, upstream), "warm": timed(argv, folder, upstream)}


def print_table(found: dict[str, list[dict[str, tuple[float, float]]]]) -> None:
    print("| tool | cold s | to Sluice | CPU s | warm s | to Sluice | CPU s |\n|---|---|---|---|---|---|---|")

    def middle(name: str, kind: str, place: int) -> float:
        return statistics.median(round_[kind][place] for round_ in found[name])

    for name in found:
        cells = [name]
        for kind in ("cold", "warm"):
            wall = middle(name, kind, 0)
            cells += [f"{wall:.2f}", f"{wall / middle('sluice', kind, 0):.1f}", f"{middle(name, kind, 1):.2f}"]
        print(f"| {' | '.join(cells)} |")
    print(f"\nThe bound of a cold run is {BOUND:.2f} s.")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer", action="append", default=[])
    options = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="evals"))
    plain = _PLAIN.format(prompts=list(TEXTS.values()), concurrency=CONCURRENCY, cases=CASES)
    program = Path(sys.executable).with_name("sluice")
    try:
        with stub() as upstream:
            jobs = {
                "sluice": [str(program), "prompts", "test", "--cases", "cases.jsonl"],
                "plain": [sys.executable, "-c", plain],
            }
            for peer in options.peer:
                name, _, command = peer.partition("=")
                jobs[name] = shlex.split(command.replace("{upstream}", upstream))
            found: dict[str, list[dict[str, tuple[float, float]]]] = {name: [] for name in jobs}
            for _ in range(options.rounds):
                for name, argv in jobs.items():
                    found[name].append(measure(name, argv, work / name, upstream))
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print_table(found)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
