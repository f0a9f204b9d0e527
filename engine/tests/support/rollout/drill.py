"""Canaries that are bad in one way each, and rehearsals of them: the drill of engine/benchmarks/canary_drill.py."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import count
from math import floor
from pathlib import Path
from typing import TYPE_CHECKING

from sluice.data.rows import Row, write_rows
from sluice.llm.chat import Delta, Messages
from sluice.prompts import ModelParameters
from sluice.rehearsal.analysis_runs import JobFiles
from sluice.rehearsal.rehearse import Rehearsal, rehearse
from sluice.rehearsal.services import ReleaseServiceSpec
from sluice.rollout.canary_plan import CanaryPlan, Step, load_plan
from sluice.serving.feedback import FeedbackLog
from sluice.serving.http_api import create_app
from sluice.serving.middleware import TrafficState, is_chat, parse_fault
from sluice.serving.runner import ApplicationRunner
from sluice.serving.server import listen
from starter_files import GATES, LOCUSTFILE, ROLLOUT, ROOT
from support.serving.fakes import DECLINE, NoChecks, ScriptedChat, ScriptedRetriever, hit, scripted_bundle

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

PIECE_SECONDS = 0.03  # an answer has eight pieces and two sentences
# As in the starter set: of three questions one must be declined.
ROWS = [
    Row(
        id=f"case-{n:03}",
        question=f"What is case-{n:03}?",
        answers=(f"It is value-{n:03}. So says doc-{n:03}.",) if n % 3 else (),
        doc_ids=(f"doc-{n:03}",) if n % 3 else (),
    )
    for n in range(120)
]


@dataclass(frozen=True)
class Way:
    """One way to be bad. `refused`, `cut`: shares of streams; `slow`, `tail` (every fifth answer): times as long;
    `first`: seconds."""

    name: str
    family: str
    fault: str = ""
    refused: Fraction = Fraction(0)
    cut: Fraction = Fraction(0)
    after: int = 0
    slow: float = 1.0
    first: float = 0.0
    tail: float = 1.0
    says: str = ""
    dies_after: int | None = None
    ready: bool = True


GOOD = Way("good", "good")
QUICK = Way("good, and a tenth of the time", "good", slow=0.1)
BAD = (
    Way("503 to every question", "errors", fault="error=1"),
    Way("503 to every second question", "errors", fault="error=1/2"),
    Way("503 to one question in ten", "errors", fault="error=1/10"),
    Way("503 to one question in thirty", "errors", fault="error=1/30"),
    Way("503 to every stream", "errors", refused=Fraction(1)),
    Way("503 to one stream in five", "errors", refused=Fraction(1, 5)),
    Way("every stream cut midway", "errors", cut=Fraction(1)),
    Way("one stream in ten cut midway", "errors", cut=Fraction(1, 10)),
    Way("503 to everything after 140 answers", "errors", refused=Fraction(1), after=140),
    Way("dies at its start", "errors", dies_after=0),
    Way("dies after 140 answers", "errors", dies_after=140),
    Way("never ready", "errors", ready=False),
    Way("answers 0.3 s late", "latency", fault="delay=0.3"),
    Way("answers 1.5 s late", "latency", fault="delay=1.5"),
    Way("never answers", "latency", fault="delay=600"),
    Way("writes half as fast", "latency", slow=2.0),
    Way("writes a fifth as fast", "latency", slow=5.0),
    Way("first word 0.2 s late", "latency", first=0.2),
    Way("one answer in five eight times as slow", "latency", tail=8.0),
    Way("other words in every answer", "answers", says="wrong"),
    Way("other words in one answer of four", "answers", says="some wrong"),
    Way("declines everything", "answers", says="declines"),
    Way("declines one answer of four", "answers", says="declines some"),
    Way("declines nothing", "answers", says="never declines"),
    Way("cites other documents", "answers", says="cites wrong"),
    Way("four times as many words", "answers", says="talks"),
)
WAYS = {way.name: way for way in (GOOD, QUICK, *BAD)}


def _script(row: Row, says: str) -> str:
    right = row.answers[0] if row.answers else DECLINE
    number = int(row.id[-3:])
    fourth = number % 4 == 0
    if says == "wrong" or (says == "some wrong" and fourth):
        return "Nobody knows. Ask somebody else." if row.answers else right
    if says == "declines" or (says == "declines some" and fourth):
        return DECLINE
    if says == "never declines":
        return row.answers[0] if row.answers else "It is known. So says everybody."
    return f"{right} {'This is said at length and once more. ' * 3}" if says == "talks" and row.answers else right


class PacedChat:
    def __init__(self, way: Way, piece: float) -> None:
        script = {row.id: _script(row, way.says) for row in ROWS}
        pace = piece * way.slow
        self._chat, self._tail = ScriptedChat(script, delay=pace), ScriptedChat(script, delay=pace * way.tail)
        self._first = way.first
        self._asked = count(1)

    async def stream(
        self, messages: Messages, parameters: ModelParameters, *, deadline: float
    ) -> AsyncGenerator[Delta, None]:
        await asyncio.sleep(self._first)
        chat = self._tail if next(self._asked) % 5 == 0 else self._chat
        async for delta in chat.stream(messages, parameters, deadline=deadline):
            yield delta


class Broken:
    """Middleware that refuses or cuts streams, and dies."""

    def __init__(self, app: ASGIApp, way: Way) -> None:
        self._app, self._way = app, way
        self._asked = 0
        self._streams = count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == "/readyz" and not self._way.ready:
            await _refuse(send)
            return
        if not is_chat(scope):
            await self._app(scope, receive, send)
            return
        self._asked += 1
        if self._way.dies_after is not None and self._asked > self._way.dies_after:
            os._exit(1)
        refused = cut = False
        chunks = 0

        async def send_badly(message: Message) -> None:
            nonlocal refused, cut, chunks
            if message["type"] == "http.response.start":
                if dict(message["headers"]).get(b"content-type", b"").startswith(b"text/event-stream"):
                    number = next(self._streams)
                    refused, cut = (_falls(number, share) for share in (self._way.refused, self._way.cut))
                if refused:
                    await _refuse(send)
            if refused:
                return
            chunks += message["type"] == "http.response.body"
            if cut and chunks > 2:
                raise ConnectionError("the stream is cut on purpose")
            await send(message)

        await self._app(scope, receive, send_badly if self._asked > self._way.after else send)


def _falls(number: int, share: Fraction) -> bool:
    """True for `share` of the numbers from 1 on, evenly spread."""
    return floor(number * share) > floor((number - 1) * share)


async def _refuse(send: Send) -> None:
    await send({"type": "http.response.start", "status": 503, "headers": []})
    await send({"type": "http.response.body", "body": b"{}"})


def serve(port: int, release: str, state: str, name: str, piece: float = PIECE_SECONDS) -> None:
    way = WAYS[name]
    if way.dies_after == 0:
        sys.exit("no memory for the model")
    bundle = replace(scripted_bundle(limits={"max_body_bytes": 4096, "max_concurrent": 64}), release=release)
    other = "other-" if way.says == "cites wrong" else ""
    hits = {row.question: [hit(f"{_script(row, '')} x", doc_id=f"{other}doc-{row.id[-3:]}")] for row in ROWS}
    chain = ApplicationRunner(bundle, PacedChat(way, piece), ScriptedRetriever(hits), NoChecks())
    traffic = TrafficState()
    fault = parse_fault(way.fault) if way.fault else None
    app = create_app(bundle, chain, traffic, fault=fault, feedback=FeedbackLog(Path(state) / "feedback"))
    listen(Broken(app, way), traffic, "127.0.0.1", port, drain_seconds=20, notice_seconds=1)


def spec(release: str, way: Way, state: Path, piece: float = PIECE_SECONDS) -> ReleaseServiceSpec:
    words = f"{{port}}, {release!r}, {str(state / release)!r}, {way.name!r}, {piece}"
    code = f"from support.rollout.drill import serve; serve({words})"
    path = os.pathsep.join([str(ROOT / "engine" / "src"), str(ROOT / "engine" / "tests")])
    return ReleaseServiceSpec(release, [sys.executable, "-c", code], {"PYTHONPATH": path})


@dataclass(frozen=True)
class Drilled:
    """The result for one canary. `intervals` are begun analyses, `exposed` the canary's share of visitors, `back`
    seconds from the verdict to weight 0, `outside` failures of requests to stable."""

    way: Way
    stopped_by: str
    intervals: int
    requests: int
    exposed: float
    back: float
    outside: int
    seconds: float
    reason: str

    @property
    def stopped(self) -> bool:
        return bool(self.stopped_by)


def plan_of_the_cluster() -> CanaryPlan:
    return load_plan(ROLLOUT, ROOT)


def drill(
    way: Way, folder: Path, *, time_scale: float, cases: int = 0, patience: float = 0, piece: float = PIECE_SECONDS
) -> Drilled:
    """Rehearse one canary beside a good stable; `patience`: seconds that an answer may take, 0 as planned."""
    folder.mkdir(parents=True, exist_ok=True)
    write_rows(folder / "eval.jsonl", ROWS)
    plan = plan_of_the_cluster()
    if patience:
        plan = replace(plan, steps=tuple(_patient(step, patience) for step in plan.steps))
    result = rehearse(
        plan,
        stable=spec("r-00000000000a", GOOD, folder, piece),
        canary=spec("r-00000000000b", way, folder, piece),
        files=JobFiles(GATES, folder / "eval.jsonl", LOCUSTFILE, folder / "state"),
        out=folder / "rehearsal.json",
        time_scale=time_scale,
        cases=cases,
    )
    return drilled(way, result)


def _patient(step: Step, seconds: float) -> Step:
    if not step.parameters:
        return step
    return replace(step, parameters=replace(step.parameters, answer_timeout_s=seconds))


def drilled(way: Way, result: Rehearsal) -> Drilled:
    analyses = [step for step in result.steps if step.kind == "analysis"]
    last = result.steps[-1] if result.steps else None
    failed = dict.fromkeys(verdict.gate for step in analyses for verdict in step.gates if not verdict.passed)
    at, weight = result.weights[-1]
    assert weight == (100 if result.passed else 0)
    return Drilled(
        way=way,
        stopped_by="" if result.passed else ", ".join(failed) or result.reason.partition(";")[0],
        intervals=len(analyses),
        requests=result.traffic.requests,
        exposed=result.traffic.to_canary / result.traffic.requests if result.traffic.requests else 0.0,
        back=max(0.0, at - last.started_s - last.seconds) if last else 0.0,
        outside=result.traffic.failed_outside_canary,
        seconds=sum(step.seconds for step in result.steps),
        reason=result.reason,
    )
