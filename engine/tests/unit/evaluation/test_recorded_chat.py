from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages.ai import AIMessageChunk, add_ai_message_chunks
from langchain_core.messages.tool import ToolCallChunk

from sluice.evaluation.recorded_chat import (
    CaseRequest,
    NotRecordedError,
    RecordedChat,
    asking,
    response_key,
    times,
)
from sluice.evaluation.response_cache import MISSING, ResponseCache
from sluice.llm.chat import ChatProvider, Delta, Messages, ToolParameters, Usage
from sluice.llm.provider_failures import FailureKind, ProviderError
from sluice.llm.settings import ProviderSpec
from sluice.prompts import ModelParameters
from support.serving.fakes import ScriptedChat, provider_entry

PARAMETERS = ModelParameters.model_validate({"temperature": 0.7, "seed": 5, "maxTokens": 9})
ASKED = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "How much overlap?"}]
SPEC = ProviderSpec.model_validate(provider_entry())


def nobody() -> ChatProvider:
    raise AssertionError("a model was asked for what is in the cache")


async def whole(
    chat: RecordedChat, messages: Messages = ASKED, parameters: ModelParameters = PARAMETERS
) -> tuple[str, Delta]:
    deadline = asyncio.get_running_loop().time() + 600
    deltas = [delta async for delta in chat.stream(messages, parameters, deadline=deadline)]
    assert [delta.finish_reason for delta in deltas[:-1]] == [None] * (len(deltas) - 1)
    return "".join(delta.text for delta in deltas), deltas[-1]


def ask(chat: RecordedChat, *, trial: int = 0, **changes: Any) -> tuple[str, Delta, CaseRequest]:
    async def run() -> tuple[str, Delta, CaseRequest]:
        with asking(trial) as record:
            return *(await whole(chat, **changes)), record

    return asyncio.run(run())


@pytest.fixture
def cache(tmp_path: Path) -> ResponseCache:
    return ResponseCache(tmp_path)


@pytest.fixture
def scripted() -> ScriptedChat:
    return ScriptedChat({"overlap": "64 tokens. That is all."})


@pytest.fixture
def recorded(cache: ResponseCache, scripted: ScriptedChat) -> RecordedChat:
    return RecordedChat(cache, [SPEC], lambda: scripted, model_digest="m")


def test_a_response_is_asked_once_and_comes_back_the_same(
    cache: ResponseCache, recorded: RecordedChat, scripted: ScriptedChat
) -> None:
    text, last, record = ask(recorded)
    assert (text, last.finish_reason, last.usage) == ("64 tokens. That is all.", "stop", Usage(11, 5))
    assert (record.recorded, record.responses, record.live) == (False, 1, True)
    again, replayed, kept = ask(RecordedChat(cache, [SPEC], nobody, model_digest="m"))
    assert (again, replayed.finish_reason, replayed.usage) == (text, "stop", Usage(11, 5))
    assert (kept.recorded, kept.responses, kept.live) == (True, 1, False)
    assert kept.keys == record.keys
    assert kept.seconds >= kept.first_token_seconds > 0
    assert len(scripted.calls) == 1


def changed(**changes: Any) -> ProviderSpec:
    return ProviderSpec.model_validate(provider_entry(**changes))


REMOTE: dict[str, Any] = {"kind": "openai_compatible", "model": "m", "base_url": "http://127.0.0.1:1/v1"}


@pytest.mark.parametrize(
    ("spec", "change"),
    [
        (SPEC, {"messages": [ASKED[0], {"role": "user", "content": "How much  overlap?"}]}),
        (SPEC, {"messages": [ASKED[1]]}),
        (SPEC, {"parameters": PARAMETERS.model_copy(update={"temperature": 0.8})}),
        (SPEC, {"parameters": PARAMETERS.model_copy(update={"seed": 6})}),
        (SPEC, {"parameters": PARAMETERS.model_copy(update={"stop": ("END",)})}),
        (SPEC, {"trial": 1}),
        (changed(name="other"), {}),
        (changed(omit=["seed"]), {}),
        (changed(options={"top_k": 3}), {}),
        (changed(**REMOTE), {}),
    ],
)
def test_whatever_may_change_the_answer_is_asked_anew(
    cache: ResponseCache, recorded: RecordedChat, scripted: ScriptedChat, spec: ProviderSpec, change: dict[str, Any]
) -> None:
    ask(recorded)
    ask(RecordedChat(cache, [spec], lambda: scripted, model_digest="m"), **change)
    assert len(scripted.calls) == 2


@pytest.mark.parametrize(
    "spec", [changed(retries=3), changed(max_concurrency=2), changed(prices={"input": 1, "output": 2}), SPEC]
)
def test_what_cannot_change_the_answer_is_not(cache: ResponseCache, recorded: RecordedChat, spec: ProviderSpec) -> None:
    text, _, _ = ask(recorded)
    again, _, kept = ask(RecordedChat(cache, [spec], nobody, model_digest="m"))
    assert (again, kept.live) == (text, False)


def test_the_digest_of_the_local_model_counts_for_the_local_model_only(
    cache: ResponseCache, recorded: RecordedChat, scripted: ScriptedChat
) -> None:
    ask(recorded)
    ask(RecordedChat(cache, [SPEC], lambda: scripted, model_digest="another"))
    assert len(scripted.calls) == 2
    ask(RecordedChat(cache, [changed(**REMOTE)], lambda: scripted, model_digest="m"))
    ask(RecordedChat(cache, [changed(**REMOTE)], nobody, model_digest="another"))


def test_each_trial_has_a_seed_of_its_own(recorded: RecordedChat, scripted: ScriptedChat) -> None:
    for trial in range(3):
        ask(recorded, trial=trial)
    assert [call["seed"] for call in scripted.calls] == [5, 6, 7]


def test_the_cost_is_by_the_prices_of_today(cache: ResponseCache, recorded: RecordedChat) -> None:
    ask(recorded)
    dearer = changed(prices={"input": 1_000_000, "output": 2_000_000})
    _, last, _ = ask(RecordedChat(cache, [dearer], nobody, model_digest="m"))
    assert last.cost == 11 + 2 * 5


def test_the_answer_of_a_fallback_is_filed_under_the_fallback(cache: ResponseCache, scripted: ScriptedChat) -> None:
    spare = changed(name="spare", **REMOTE)

    class ByTheSpare:
        async def stream(
            self, messages: Messages, parameters: ModelParameters, *, deadline: float
        ) -> AsyncGenerator[Delta, None]:
            async for delta in scripted.stream(messages, parameters, deadline=deadline):
                yield delta if delta.finish_reason is None else delta._replace(provider="spare", model="m")

    ask(RecordedChat(cache, [SPEC, spare], ByTheSpare))
    ask(RecordedChat(cache, [SPEC, spare], ByTheSpare))
    assert len(scripted.calls) == 2  # it says nothing about what the first would answer
    _, last, _ = ask(RecordedChat(cache, [spare], nobody))
    assert (last.provider, last.model) == ("spare", "m")


@pytest.mark.parametrize("error", [ProviderError(FailureKind.SERVER_ERROR, "HTTP 500"), ConnectionError("gone")])
def test_failures_are_not_kept(cache: ResponseCache, scripted: ScriptedChat, error: Exception) -> None:
    failing = ScriptedChat({"overlap": error})
    with pytest.raises(type(error)):
        ask(RecordedChat(cache, [SPEC], lambda: failing))
    assert ask(RecordedChat(cache, [SPEC], lambda: scripted))[0] == "64 tokens. That is all."


def test_a_response_that_breaks_off_is_not_kept(cache: ResponseCache) -> None:
    breaking = ScriptedChat({"overlap": "64 tokens. That is all."}, fail_after=2)
    with pytest.raises(ConnectionError):
        ask(RecordedChat(cache, [SPEC], lambda: breaking))
    assert list(cache.folder.rglob("*.json")) == []


@pytest.mark.parametrize("reply", ["", " \n "])
def test_a_response_without_text_is_a_failure_with_a_name(cache: ResponseCache, reply: str) -> None:
    silent = ScriptedChat({"overlap": reply}, finish_reason="content_filter")
    with pytest.raises(ProviderError, match=r"an empty response \(finish reason content_filter\)"):
        ask(RecordedChat(cache, [SPEC], lambda: silent))
    assert list(cache.folder.rglob("*.json")) == []


def test_a_torn_entry_is_asked_again_and_mended(cache: ResponseCache, recorded: RecordedChat) -> None:
    _, _, record = ask(recorded)
    (path,) = cache.folder.rglob(f"{record.keys[0]}.json")
    path.write_bytes(path.read_bytes()[:-9])
    assert ask(recorded)[2].recorded is False
    assert ask(recorded)[2].recorded is True


WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
LOOP = [
    *ASKED,
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}],
    },
    {"role": "tool", "tool_call_id": "c1", "content": "Rain."},
]


def call(name_id: str, arguments: str, index: int = 0) -> ToolCallChunk:
    return {"type": "tool_call_chunk", "index": index, "id": name_id, "name": "weather", "args": arguments}


def test_calls_of_tools_and_the_answer_after_them_come_back_the_same(cache: ResponseCache) -> None:
    parameters = ToolParameters.model_validate({"tools": [WEATHER]})
    calls = Delta("One moment.", tool_calls=(call("c1", '{"city": '), call("c2", "{}", 1)))
    scripted = ScriptedChat({"overlap": calls, "Rain.": "It rains."})
    chat = RecordedChat(cache, [SPEC], lambda: scripted, model_digest="m")
    replay = RecordedChat(cache, [SPEC], nobody, model_digest="m", replay=True)

    async def both(who: RecordedChat) -> tuple[AIMessageChunk, str, Delta]:
        asked = who.stream(ASKED, parameters, deadline=asyncio.get_running_loop().time() + 600)
        chunks = [AIMessageChunk(one.text, tool_call_chunks=list(one.tool_calls)) async for one in asked]
        return add_ai_message_chunks(chunks[0], *chunks[1:]), *(await whole(who, LOOP, parameters))

    first, again = asyncio.run(both(chat)), asyncio.run(both(replay))
    assert (first[0].content, first[0].tool_call_chunks) == (again[0].content, again[0].tool_call_chunks)
    assert len(again[0].tool_call_chunks) == 2
    assert first[1] == again[1] == "It rains."


@pytest.mark.parametrize(
    ("messages", "changes"),
    [
        (LOOP, {}),
        ([*LOOP[:-1], {**LOOP[-1], "content": "Sun."}], {"tools": [WEATHER]}),
        (LOOP, {"tools": [WEATHER], "tool_choice": "required"}),
        (LOOP, {"tools": [{**WEATHER, "function": {**WEATHER["function"], "description": "Of a city."}}]}),
    ],
    ids=["no tools", "another result", "another choice", "another tool"],
)
def test_tools_choice_and_results_are_part_of_what_was_asked(
    cache: ResponseCache, messages: Messages, changes: dict[str, Any]
) -> None:
    def ask_with(messages: Messages, parameters: ModelParameters) -> int:
        scripted = ScriptedChat({"Rain.": "It rains.", "Sun.": "It shines."})
        ask(RecordedChat(cache, [SPEC], lambda: scripted), messages=messages, parameters=parameters)
        return len(scripted.calls)

    first = ToolParameters.model_validate({"tools": [WEATHER]})
    assert [ask_with(LOOP, first), ask_with(LOOP, first)] == [1, 0]
    kind = ToolParameters if changes else ModelParameters
    assert ask_with(messages, kind.model_validate(changes)) == 1


def test_replay_answers_from_the_cache_and_asks_nobody(cache: ResponseCache, recorded: RecordedChat) -> None:
    ask(recorded)
    replay = RecordedChat(cache, [SPEC], nobody, model_digest="m", replay=True)
    assert ask(replay)[0] == "64 tokens. That is all."

    async def miss() -> CaseRequest:
        with asking(1) as record, pytest.raises(NotRecordedError, match="no recorded response of local"):
            await whole(replay)
        return record

    assert asyncio.run(miss()).missed.startswith("no recorded response of local")


def test_a_response_that_a_guard_leaves_early_is_kept_whole(cache: ResponseCache) -> None:
    slow = ScriptedChat({"overlap": "64 tokens. That is all."}, delay=0.01)
    recorded = RecordedChat(cache, [SPEC], lambda: slow)

    async def leave() -> CaseRequest:
        with asking(0) as record:
            deadline = asyncio.get_running_loop().time() + 600
            async with aclosing(recorded.stream(ASKED, PARAMETERS, deadline=deadline)) as stream:
                async for _ in stream:
                    break
        return record

    record = asyncio.run(leave())
    assert len(record.keys) == 1
    assert record.drained > 0.01
    assert ask(RecordedChat(cache, [SPEC], nobody))[0] == "64 tokens. That is all."


@pytest.mark.parametrize("pieces", range(6))
def test_a_question_that_is_called_off_is_not_kept_wherever_it_was(cache: ResponseCache, pieces: int) -> None:
    slow = ScriptedChat({"overlap": "64 tokens. That is all."}, delay=0.01)
    recorded = RecordedChat(cache, [SPEC], lambda: slow)

    async def called_off() -> None:
        async def reading() -> None:
            deadline = asyncio.get_running_loop().time() + 600
            seen = 0
            async with aclosing(recorded.stream(ASKED, PARAMETERS, deadline=deadline)) as stream:
                async for _ in stream:
                    seen += 1
                    if seen == pieces:  # held up here, as by a guard
                        await asyncio.sleep(3600)

        task = asyncio.create_task(reading())
        while len(slow.sent) < pieces or not slow.calls:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(called_off())
    assert slow.closed == 1
    assert list(cache.folder.rglob("*.json")) == []


@pytest.mark.parametrize("done", [0, 1, 5, 19])
def test_an_interruption_loses_only_what_is_in_flight(cache: ResponseCache, done: int) -> None:
    """20 questions, 4 at once, called off after `done` of them: those are there, and a second run asks the others."""
    questions = [[{"role": "user", "content": f"question <{number}>"}] for number in range(20)]
    script = {f"<{number}>": f"answer {number}" for number in range(20)}
    first = ScriptedChat(script, delay=0.002)

    async def asked(chat: ScriptedChat, stop: Callable[[int], bool]) -> list[str]:
        recorded = RecordedChat(cache, [SPEC], lambda: chat)
        turns, finished, texts = asyncio.Semaphore(4), 0, {}
        enough = asyncio.Event()

        async def one(number: int) -> None:
            nonlocal finished
            async with turns:
                with asking(0):
                    texts[number] = (await whole(recorded, questions[number]))[0]
            finished += 1
            if stop(finished):
                enough.set()

        tasks = [asyncio.create_task(one(number)) for number in range(20)]
        if stop(0):
            await asyncio.sleep(0)
            enough.set()
        await enough.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return [texts[number] for number in sorted(texts)]

    before = asyncio.run(asked(first, lambda finished: finished >= done))
    kept = len(list(cache.folder.rglob("*.json")))
    assert kept >= len(before) >= done
    second = ScriptedChat(script)
    assert asyncio.run(asked(second, lambda finished: finished == 20)) == [f"answer {number}" for number in range(20)]
    assert len(second.calls) == 20 - kept


def test_times_are_those_of_when_it_was_asked(cache: ResponseCache) -> None:
    assert times(cache, made := CaseRequest(keys=["b", "a"], live=True), 120.0, 80.0) == (120.0, 80.0)
    assert not made.recorded
    kept = CaseRequest(keys=["a", "b"], kept=1, responses=1, seconds=0.1, first_token_seconds=0.05)
    assert times(cache, kept, 3.0, 2.0) == (120.0, 80.0)
    assert times(cache, kept, 3.0, None) == (120.0, 80.0)


def test_times_of_an_answer_that_is_partly_new_are_added_up(cache: ResponseCache) -> None:
    partly = CaseRequest(keys=["a", "c"], live=True, kept=1, responses=1, seconds=0.1, first_token_seconds=0.05)
    assert times(cache, partly, 7.0, 6.0) == pytest.approx((107.0, 56.0))
    assert partly.recorded
    assert times(cache, partly, 7.0, None) == (107.0, None)


def test_the_rest_of_a_response_that_nobody_waited_for_costs_the_answer_no_time(cache: ResponseCache) -> None:
    assert times(cache, CaseRequest(keys=["a"], live=True, drained=0.05), 120.0, None) == (pytest.approx(70.0), None)


def test_times_without_any_part_are_what_was_measured(cache: ResponseCache) -> None:
    assert times(cache, CaseRequest(), 7.0, None) == (7.0, None)
    assert list(cache.folder.rglob("*.json")) == []


def test_replay_notes_what_a_hosted_model_would_be_asked(cache: ResponseCache) -> None:
    remote = changed(**REMOTE)
    with pytest.raises(NotRecordedError):
        ask(RecordedChat(cache, [remote], nobody, replay=True), trial=2)
    (noted,) = [json.loads(path.read_text()) for path in (cache.folder / MISSING).glob("*.json")]
    asked = PARAMETERS.model_copy(update={"seed": PARAMETERS.seed + 2})
    assert noted == {
        "digest": response_key(remote, ASKED, asked, 2),
        "provider": remote.name,
        "parameters": asked.model_dump(mode="json"),
        "messages": ASKED,
        "trial": 2,
    }
    assert "127.0.0.1" not in json.dumps(noted), "an address is a matter of whoever asks"


def test_replay_notes_nothing_for_a_local_model(cache: ResponseCache) -> None:
    with pytest.raises(NotRecordedError):
        ask(RecordedChat(cache, [SPEC], nobody, replay=True))
    assert not (cache.folder / MISSING).exists()
