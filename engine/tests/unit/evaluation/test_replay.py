import asyncio
import dataclasses
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages.ai import AIMessageChunk, add_ai_message_chunks
from langchain_core.messages.tool import ToolCallChunk

from sluice.core.atomic_files import write_json
from sluice.evaluation.replay import RecordedChat, RecordedSearch, guards_digest, response_key, search_digest
from sluice.evaluation.response_cache import MISSING, CaseRequest, NotRecordedError, ResponseCache, asking
from sluice.guardrails.settings import GuardrailSettings
from sluice.llm.chat import ChatProvider, Delta, Messages, ToolParameters
from sluice.llm.provider_failures import ProviderError
from sluice.llm.settings import ProviderSpec
from sluice.prompts import ModelParameters
from sluice.serving.release_parts import ReleaseBundle
from support.serving.fakes import HITS, ScriptedChat, ScriptedRetriever, provider_entry, scripted_bundle

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


def changed(**changes: Any) -> ProviderSpec:
    return ProviderSpec.model_validate(provider_entry(**changes))


REMOTE: dict[str, Any] = {"kind": "openai_compatible", "model": "m", "base_url": "http://127.0.0.1:1/v1"}


@pytest.mark.parametrize(
    ("spec", "change"),
    [
        (SPEC, {"messages": [ASKED[0], {"role": "user", "content": "How much  overlap?"}]}),
        (SPEC, {"parameters": PARAMETERS.model_copy(update={"temperature": 0.8})}),
        (SPEC, {"trial": 1}),
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


def test_other_settings_change_no_answer_and_the_cost_is_today_s(cache: ResponseCache, recorded: RecordedChat) -> None:
    ask(recorded)
    dearer = changed(retries=3, max_concurrency=2, prices={"input": 1_000_000, "output": 2_000_000})
    _, last, kept = ask(RecordedChat(cache, [dearer], nobody, model_digest="m"))
    assert (kept.live, last.cost) == (False, 11 + 2 * 5)


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


def test_a_response_without_text_is_a_failure_with_a_name_and_not_kept(cache: ResponseCache) -> None:
    silent = ScriptedChat({"overlap": " \n "}, finish_reason="content_filter")
    with pytest.raises(ProviderError, match=r"an empty response \(finish reason content_filter\)"):
        ask(RecordedChat(cache, [SPEC], lambda: silent))
    assert list(cache.folder.rglob("*.json")) == []


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


def called(name_id: str, arguments: str, index: int = 0) -> ToolCallChunk:
    return {"type": "tool_call_chunk", "index": index, "id": name_id, "name": "weather", "args": arguments}


def test_calls_of_tools_and_the_answer_after_them_come_back_the_same(cache: ResponseCache) -> None:
    parameters = ToolParameters.model_validate({"tools": [WEATHER]})
    calls = Delta("One moment.", tool_calls=(called("c1", '{"city": '), called("c2", "{}", 1)))
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


def test_a_question_that_is_called_off_is_not_kept(cache: ResponseCache) -> None:
    slow = ScriptedChat({"overlap": "64 tokens. That is all."}, delay=0.01)
    recorded = RecordedChat(cache, [SPEC], lambda: slow)

    async def called_off() -> None:
        async def reading() -> None:
            deadline = asyncio.get_running_loop().time() + 600
            seen = 0
            async with aclosing(recorded.stream(ASKED, PARAMETERS, deadline=deadline)) as stream:
                async for _ in stream:
                    seen += 1
                    if seen == 3:  # held up here, as by a guard
                        await asyncio.sleep(3600)

        task = asyncio.create_task(reading())
        while len(slow.sent) < 3:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(called_off())
    assert slow.closed == 1
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
    with pytest.raises(NotRecordedError):
        ask(RecordedChat(cache, [SPEC], nobody, replay=True))
    assert len(list((cache.folder / MISSING).iterdir())) == 1, "a local model is not asked elsewhere"


QUESTION = "How much overlap do chunks have?"


def test_a_search_is_made_once_for_each_question_and_tenant(tmp_path: Path) -> None:
    inner = ScriptedRetriever(HITS)
    search = RecordedSearch(ResponseCache(tmp_path), "d", lambda: inner, k=5)
    with asking(0) as record:
        hits = search.search(QUESTION, k=1)
    assert hits == HITS[QUESTION][:1]
    assert (record.live, record.recorded, len(record.keys)) == (True, False, 1)
    with asking(0) as record:
        assert search.search(QUESTION, k=2) == HITS[QUESTION]
    assert (record.live, record.recorded) == (False, True)
    assert inner.asked == [(QUESTION, 5)]
    search.search(QUESTION, k=1, tenant="acme")
    search.search(QUESTION, k=6)
    assert (inner.asked[1:], inner.tenants[1:]) == ([(QUESTION, 5), (QUESTION, 6)], ["acme", None])


def bundle_of(folder: Path, *, index: str = "i", embedder: bytes = b"e") -> ReleaseBundle:
    write_json(folder / "index" / "index.json", {"digest": index})
    (folder / "embedder.gguf").write_bytes(embedder)
    return dataclasses.replace(scripted_bundle(), index=folder / "index", embedder=folder / "embedder.gguf")


def test_index_and_embedder_decide_about_a_search(tmp_path: Path) -> None:
    digests = [
        search_digest(bundle_of(tmp_path / "a")),
        search_digest(bundle_of(tmp_path / "b")),
        search_digest(bundle_of(tmp_path / "c", index="j")),
        search_digest(bundle_of(tmp_path / "d", embedder=b"f")),
    ]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def test_settings_and_installed_packages_decide_about_a_wheel_s_validator(monkeypatch: pytest.MonkeyPatch) -> None:
    check = {"check": "injection", "action": "block"}
    wheel = {"check": "guardrails/lowercase", "on_fail": "fix"}
    fixes = GuardrailSettings.model_validate({"input": [check], "output": [wheel]})
    bundle = dataclasses.replace(scripted_bundle(), guardrails=fixes)
    digest = guards_digest(bundle)
    assert guards_digest(bundle) == digest != guards_digest(scripted_bundle())
    monkeypatch.setattr("sluice.evaluation.replay.version", lambda name: f"another {name}")
    assert guards_digest(bundle) != digest
