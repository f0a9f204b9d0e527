import asyncio
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from sluice.core.errors import SluiceError
from sluice.data.rows import Row
from sluice.evaluation.application import ChainWorker, Digests, RunnerTarget, WorkerParts
from sluice.evaluation.registry import Output
from sluice.evaluation.response_cache import NotRecordedError, NotStartedError, ResponseCache
from sluice.evaluation.runner import run_cases
from sluice.guardrails.check import GuardOutcome
from sluice.llm.chat import Delta
from sluice.serving.answer import ModelError
from sluice.serving.release_parts import ReleaseBundle
from support.serving.fakes import CHUNKS, HITS, REPLIES, NoChecks, ScriptedChat, ScriptedRetriever, scripted_bundle

DIGESTS = Digests("model", "search", "guards")
OVERLAP = Row(id="q1", question="How much overlap do chunks have?", answers=("64 tokens",), doc_ids=("chunking",))
PERU = Row(id="q2", question="What is the capital of Peru?", answers=(), doc_ids=())


class Bench:
    def __init__(self, folder: Path, *, digests: Digests = DIGESTS, lanes: int = 1, replay: bool = False) -> None:
        self.bundle: ReleaseBundle = scripted_bundle()
        self.cache = ResponseCache(folder)
        self.chats: list[ScriptedChat] = []
        self.searches: list[ScriptedRetriever] = []
        self.guards: Any = NoChecks()
        self.script: dict[str, str | Delta | Exception] = dict(REPLIES)
        self.opened = 0
        self.digests, self.lanes, self.replay = digests, lanes, replay

    def _worker(self, parts: WorkerParts | None = None) -> ChainWorker:
        return ChainWorker(self.bundle, self.cache, self.digests, parts, replay=self.replay)

    def _open(self) -> list[ChainWorker]:
        self.opened += 1
        found = []
        for _ in range(self.lanes):
            self.chats.append(ScriptedChat(self.script, delay=0.005))
            self.searches.append(ScriptedRetriever(HITS))
            chat = None if self.replay else self.chats[-1]
            found.append(self._worker(WorkerParts(chat, self.searches[-1], self.guards)))
        return found

    def ask(self, *rows: Row, trial: int = 0) -> list[Output | BaseException]:
        application = RunnerTarget(self._worker(), self._open, self.cache, concurrency=self.lanes)
        turns = asyncio.Semaphore(self.lanes)

        async def one(row: Row) -> Output:
            async with turns:
                return await application.ask(row, trial=trial)

        async def run() -> list[Output | BaseException]:
            return list(await asyncio.gather(*map(one, rows), return_exceptions=True))

        return asyncio.run(run())

    @property
    def asked(self) -> int:
        return sum(len(chat.calls) for chat in self.chats)


def told(output: Output | BaseException) -> Output:
    """Drop what isn't the cache's: whether it spoke, and the cost."""
    assert isinstance(output, Output)
    return dataclasses.replace(output, recorded=False, cost=None)


def test_an_output_has_what_the_metrics_need(tmp_path: Path) -> None:
    (output,) = Bench(tmp_path).ask(OVERLAP)
    assert isinstance(output, Output)
    assert (output.text, output.declined, output.recorded) == ("64 tokens", False, False)
    assert output.retrieved == ("chunking", "cost")
    assert output.passages == (CHUNKS, "Of costs.")
    assert (output.prompt_tokens, output.completion_tokens) == (11, 2)
    assert output.latency_ms >= (output.ttft_ms or 0) > 5


def test_the_second_run_starts_nothing_and_says_the_same_with_the_same_times(tmp_path: Path) -> None:
    first = Bench(tmp_path).ask(OVERLAP, PERU)
    again = Bench(tmp_path)
    second = again.ask(OVERLAP, PERU)
    assert again.opened == 0
    assert list(map(told, second)) == list(map(told, first))
    assert [output.recorded for output in second if isinstance(output, Output)] == [True, True]


@pytest.mark.parametrize(
    ("digests", "chats", "searches"),
    [
        (DIGESTS._replace(model="another"), 1, 0),
        (DIGESTS._replace(search="another"), 0, 1),
        (DIGESTS._replace(guards="another"), 0, 0),
    ],
)
def test_only_what_changed_is_asked_again(tmp_path: Path, digests: Digests, chats: int, searches: int) -> None:
    Bench(tmp_path).ask(OVERLAP)
    changed = Bench(tmp_path, digests=digests)
    (output,) = changed.ask(OVERLAP)
    assert isinstance(output, Output)
    assert changed.opened == 1
    assert (changed.asked, sum(len(search.asked) for search in changed.searches)) == (chats, searches)
    assert output.recorded is (chats == 0)
    assert output.latency_ms > 5 * 3  # the pauses of the script: measured now, or when it was asked


def test_all_lanes_start_together_and_once(tmp_path: Path) -> None:
    bench = Bench(tmp_path, lanes=3)
    rows = [OVERLAP, *(Row(id=f"r{n}", question=OVERLAP.question, answers=(), doc_ids=()) for n in range(6))]
    assert all(isinstance(output, Output) for output in bench.ask(*rows))
    assert (bench.opened, len(bench.chats)) == (1, 3)


def test_what_cannot_start_is_tried_once_and_ends_the_run(tmp_path: Path) -> None:
    tried = []

    def refuse() -> list[ChainWorker]:
        tried.append(1)
        raise SluiceError("guard.safetensors: no such file", remedy="sluice guard train")

    bench = Bench(tmp_path)
    application = RunnerTarget(bench._worker(), refuse, bench.cache, concurrency=2)
    rows = [Row(id=f"r{n}", question=f"What is {n}?", answers=(), doc_ids=()) for n in range(6)]
    with pytest.raises(NotStartedError, match=r"guard\.safetensors: no such file\n  -> sluice guard train"):
        asyncio.run(run_cases(rows, application, [], concurrency=2, on_progress=lambda *_: None))
    assert tried == [1]


def test_replay_tells_a_miss_from_a_failure(tmp_path: Path) -> None:
    Bench(tmp_path).ask(OVERLAP)
    replay = Bench(tmp_path, replay=True)
    found, missed = replay.ask(OVERLAP, Row(id="q3", question="Who answers for this?", answers=("x",), doc_ids=()))
    assert isinstance(found, Output)
    assert found.recorded
    assert isinstance(missed, NotRecordedError)
    assert "no recorded response of local" in str(missed)
    assert replay.asked == 0


def test_a_failure_of_the_model_is_a_failure_and_is_asked_again_next_time(tmp_path: Path) -> None:
    failing = Bench(tmp_path)
    failing.script["overlap"] = ConnectionError("gone")
    assert isinstance(failing.ask(OVERLAP)[0], ModelError)
    assert failing.asked == 1
    assert isinstance(Bench(tmp_path).ask(OVERLAP)[0], Output)


class Broken(NoChecks):
    async def check_output(self, text: str, links: Sequence[str] = ()) -> GuardOutcome:  # noqa: ARG002
        return GuardOutcome("", True, ("guardrails.error",))


def test_a_check_that_broke_is_not_remembered(tmp_path: Path) -> None:
    first = Bench(tmp_path)
    first.guards = Broken()
    first.ask(OVERLAP)
    again = Bench(tmp_path)
    (output,) = again.ask(OVERLAP)
    assert isinstance(output, Output)
    assert (output.text, again.opened, again.asked) == ("64 tokens", 1, 0)
