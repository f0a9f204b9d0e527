"""Two workers on two cores against one worker on one core, in one run.

    .venv/bin/python engine/benchmarks/two_workers.py [--seconds 5] [--rounds 3]

A worker is a process of its own; more of them are replicas, behind Kubernetes' service or a proxy. Here the load goes
to each of them directly, 16 in flight for each. With one worker everything is on core 0, PostgreSQL, the stub upstream
and the load as well; with two everything has cores 0 and 1. So the ratio says what a machine twice the size is worth,
and not what moving the load to another core is. Needs data/ (`dvc pull`), two cores and a quiet machine. Prints a table
in Markdown.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path

import psutil
import uvloop
from service_speed import Load, cpu_seconds, make_index, running, stub, subjects

from sluice.core.settings import load_settings
from sluice.core.workspace import Workspace
from sluice.retrieval.stores import Stores, open_store
from sluice.serving.api_keys import SCOPES, add_key

IN_FLIGHT = 16


def pin(process: psutil.Process, cores: set[int]) -> None:
    """All its threads."""
    for thread in process.threads():
        os.sched_setaffinity(thread.id, cores)


async def rate(loads: list[Load], *, stream: bool) -> float:
    """Requests a second of all together."""
    found = await asyncio.gather(*(load.run(IN_FLIGHT, stream=stream) for load in loads))
    return sum(each for each, _ in found)


@dataclass
class Worker:
    pid: int
    load: Load


def compare(workers: list[Worker], others: list[psutil.Process], *, stream: bool, rounds: int) -> list[float]:
    """Requests a second of the first worker on core 0, of both on both cores, their ratio, and the ratio by nothing but
    the workers' CPU time for a request; medians of the rounds. `others`: the processes beside the workers."""
    found = []
    for _ in range(rounds):
        rates, work = [], []
        for used, cores in ((workers[:1], {0}), (workers, {0, 1})):
            for process in others:
                for each in (process, *(process.children() if process.pid != os.getpid() else [])):
                    pin(each, cores)
            before = sum(cpu_seconds(worker.pid) for worker in used)
            rates.append(uvloop.run(rate([worker.load for worker in used], stream=stream)))
            work.append((sum(cpu_seconds(worker.pid) for worker in used) - before) / rates[-1])
        found.append((*rates, rates[1] / rates[0], 2 * work[0] / work[1]))
    return [statistics.median(column) for column in zip(*found, strict=True)]


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    workspace = Workspace.find()
    state = Path(tempfile.mkdtemp(prefix="speed"))  # short: a socket's path may have 100 characters
    key = add_key(state / "keys.json", "bench", tenant=None, scopes=SCOPES, rate=10_000_000)
    stores = load_settings(workspace.config / "stores.yaml", Stores)
    try:
        make_index(workspace, state)
        with open_store(stores.chosen, state), stub() as (stub_pid, stub_port):
            postmaster = int((state / stores.chosen.path / "postmaster.pid").read_text().split()[0])
            others = [psutil.Process(pid) for pid in (os.getpid(), stub_pid, postmaster)]
            heads = "".join(f" one: {kind}/s | two | ratio | by CPU time |" for kind in ("requests", "streams"))
            print(f"| path |{heads}\n|---{'|---' * 8}|")
            for subject in subjects(workspace, []):
                if subject.name not in ("chat", "rag"):
                    continue
                upstream = f"http://127.0.0.1:{stub_port}/v1"
                with running(subject, upstream, state, key) as first, running(subject, upstream, state, key) as second:
                    pin(psutil.Process(second[0]), {1})
                    workers = [Worker(pid, Load(port, subject, key, options.seconds)) for pid, port in (first, second)]
                    uvloop.run(rate([worker.load for worker in workers], stream=False))  # to warm up
                    figures = [compare(workers, others, stream=way, rounds=options.rounds) for way in (False, True)]
                cells = [f"{one:,.0f} | {two:,.0f} | {ratio:.2f} | {by_cpu:.2f}" for one, two, ratio, by_cpu in figures]
                print(f"| {subject.name} | {' | '.join(cells)} |", flush=True)
    finally:
        shutil.rmtree(state, ignore_errors=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
