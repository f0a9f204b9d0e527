"""The real service as good and bad releases, with a scripted model, search and guard."""

import os
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import httpx

from sluice.data.rows import Row
from sluice.guardrails.check import GuardOutcome
from sluice.rehearsal.services import ReleaseService, ReleaseServiceSpec
from sluice.serving.auth import Caller
from sluice.serving.feedback import FeedbackLog, proof_of
from sluice.serving.http_api import create_app
from sluice.serving.middleware import TrafficState
from sluice.serving.runner import ApplicationRunner
from sluice.serving.server import listen
from starter_files import ROOT
from support.serving.fakes import CHUNKS, REPLIES, ScriptedChat, ScriptedRetriever, hit, scripted_bundle

GOOD = "How much overlap do chunks have?"
BROKEN = "What breaks?"
FORBIDDEN = "What is forbidden?"


class ForbiddingGuards:
    async def check_input(self, text: str, earlier: Sequence[str] = ()) -> GuardOutcome:  # noqa: ARG002
        return GuardOutcome("", True, ("test.forbidden",)) if text == FORBIDDEN else GuardOutcome(text, False, ())

    async def check_passage(self, text: str) -> GuardOutcome:
        return GuardOutcome(text, False, ())

    async def check_output(self, text: str, links: Sequence[str] = ()) -> GuardOutcome:  # noqa: ARG002
        return GuardOutcome(text, False, ())


# Cases of an evaluation: half have an answer, half must be declined.
CASES = [
    Row(id=f"case-{n:02}", question=f"What is case-{n:02}?", answers=(f"It is value-{n:02}",), doc_ids=(f"doc-{n:02}",))
    if n < 40
    else Row(id=f"case-{n:02}", question=f"What is case-{n:02}?", answers=(), doc_ids=())
    for n in range(80)
]


def serve(port: int, release: str, state: str, delay: float, *, wrong: bool = False) -> None:
    """Answers GOOD within four times `delay` seconds, BROKEN with a 5xx, FORBIDDEN with a refusal, and CASES right
    or `wrong`."""
    bundle = replace(scripted_bundle(limits={"max_body_bytes": 4096, "max_concurrent": 64}), release=release)
    script: dict[str, str | Exception] = {**REPLIES, "breaks": RuntimeError("broken")}
    hits = {asked: [hit(CHUNKS, doc_id="chunking")] for asked in (GOOD, BROKEN, FORBIDDEN)}
    for row in CASES:
        text = row.answers[0] if row.answers else "Nothing of it"
        script[row.id] = "Nobody knows" if wrong else text
        found = row.answers or wrong
        hits[row.question] = [hit(f"{text}.", similarity=0.9 if found else 0.1, doc_id=row.id.replace("case", "doc"))]
    chat, retriever = ScriptedChat(script, delay=delay), ScriptedRetriever(hits)
    traffic = TrafficState()
    chain = ApplicationRunner(bundle, chat, retriever, ForbiddingGuards())
    app = create_app(bundle, chain, traffic, feedback=FeedbackLog(Path(state) / "feedback"))
    listen(app, traffic, "127.0.0.1", port, drain_seconds=1, notice_seconds=0)


class Canary(ReleaseService):
    def __init__(self, release: str, state: Path, delay: float = 0.0, *, wrong: bool = False) -> None:
        call = f"serve({{port}}, {release!r}, {str(state)!r}, {delay}, wrong={wrong})"
        argv = [sys.executable, "-c", f"from support.rollout.canaries import serve; {call}"]
        path = os.pathsep.join([str(ROOT / "engine" / "src"), str(ROOT / "engine" / "tests")])
        super().__init__("canary", ReleaseServiceSpec(release, argv, {"PYTHONPATH": path}), state=state)

    def ask(self, question: str) -> int:
        body = {"model": "sluice", "messages": [{"role": "user", "content": question}]}
        return self._post("/v1/chat/completions", body)

    def score(self, value: float, release: str) -> None:
        trace_id = uuid.uuid4().hex
        answer = trace_id + proof_of(Caller(), trace_id, release)
        assert self._post("/v1/feedback", {"trace_id": answer, "score": value, "release": release}) == 200

    def _post(self, path: str, body: dict[str, object]) -> int:
        return httpx.post(self.url + path, json=body, timeout=240, trust_env=False).status_code


@contextmanager
def compared_releases(folder: Path) -> Iterator[dict[str, str]]:
    """Start a stable, a good and a worse release; yield their URLs."""
    with ExitStack() as running:
        releases = {
            name: Canary(f"r-00000000000{letter}", folder / letter, wrong=name == "worse")
            for name, letter in (("stable", "a"), ("good", "b"), ("worse", "c"))
        }
        for release in releases.values():
            running.callback(release.stop)
        for release in releases.values():
            release.wait_ready()
        yield {name: release.url for name, release in releases.items()}


def many(times: int, call: Callable[[], object], *, at_once: int = 8) -> None:
    with ThreadPoolExecutor(at_once) as pool:
        for done in [pool.submit(call) for _ in range(times)]:
            done.result()
