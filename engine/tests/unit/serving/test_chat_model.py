import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from langchain_core.callbacks import AsyncCallbackHandler
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, SystemMessage
from langchain_core.messages.ai import add_ai_message_chunks
from langchain_core.tools import tool

from sluice.core.errors import SluiceError
from sluice.llm.chat import ChatProvider
from sluice.serving.answer import ModelError
from sluice.serving.chat_model import ChatModel
from sluice.serving.request_state import RequestState, enter_request
from support.providers.clients import PARAMETERS, chat_over
from support.providers.server import TEXT, Upstream
from support.serving.fakes import NoChecks

Servers = Callable[..., list[Upstream]]


def model(provider: ChatProvider) -> ChatModel:
    return ChatModel(provider=provider, model_name="m", parameters=PARAMETERS, guards=NoChecks(), max_calls=3)


def within(ask: Callable[[], Any]) -> tuple[Any, RequestState]:
    """What an asynchronous function gives within a request."""

    async def answer() -> tuple[Any, RequestState]:
        request = RequestState([], None, decline="No.", seconds=60)
        enter_request(request)
        return await ask(), request

    return asyncio.run(answer())


def test_the_answer_its_usage_and_who_gave_it(servers: Servers) -> None:
    running = servers("status:500", "normal")
    asked = [SystemMessage("Be brief."), AIMessage("Yes?"), HumanMessage("How much?")]
    reply, request = within(lambda: model(chat_over(running)).ainvoke(asked, stop=["END"]))
    assert reply.text == TEXT
    tokens = {"input_tokens": 11, "output_tokens": 3, "total_tokens": 14, "input_token_details": {"cache_read": 0}}
    assert reply.usage_metadata == tokens
    assert (reply.response_metadata["provider"], reply.response_metadata["finish_reason"]) == ("b", "stop")
    sent = running[1].asked[0].json
    assert [message["role"] for message in sent["messages"]] == ["system", "assistant", "user"]
    assert sent["stop"] == ["END"]
    assert [call.provider for call in request.calls] == ["b"]


def test_a_stream_is_the_same_with_a_handler_and_without(servers: Servers) -> None:
    told: list[str] = []

    class Handler(AsyncCallbackHandler):
        async def on_chat_model_start(self, *_: Any, **__: Any) -> None:
            told.append("start")

        async def on_llm_end(self, *_: Any, **__: Any) -> None:
            told.append("end")

    async def streamed(asked: ChatModel, **options: Any) -> tuple[Any, ...]:
        pieces = [piece async for piece in asked.astream([HumanMessage("How much?")], stop=["END"], **options)]
        whole = add_ai_message_chunks(*pieces)
        assert {piece.id for piece in pieces} == {whole.id}
        assert str(whole.id).startswith("lc_run--")
        return whole.text, whole.usage_metadata, whole.response_metadata, pieces[-1].chunk_position

    running = servers("normal")
    bare = model(chat_over(running))
    heard: list[Any] = []
    for asked, options in (
        (bare, {}),
        (bare, {"config": {"callbacks": [Handler()]}}),
        (bare.model_copy(update={"callbacks": [Handler()]}), {}),
    ):
        heard.append(within(partial(streamed, asked, **options))[0])
    assert heard[0] == heard[1] == heard[2]
    assert heard[0][0] == TEXT
    assert told == ["start", "end"] * 2
    assert [one.json["stop"] for one in running[0].asked] == [["END"]] * 3


def test_code_that_is_not_asynchronous_streams_and_asks_too(servers: Servers) -> None:
    asked = model(chat_over(servers("normal")))
    chunks, _ = within(lambda: asyncio.to_thread(lambda: list(asked.stream("How much?"))))
    assert all(isinstance(chunk, AIMessageChunk) for chunk in chunks)
    assert "".join(chunk.text for chunk in chunks) == TEXT
    reply, request = within(lambda: asyncio.to_thread(asked.invoke, "How much?"))
    assert (reply.text, len(request.calls)) == (TEXT, 1)


def test_parameters_are_bound_for_one_call(servers: Servers) -> None:
    running = servers("normal")
    within(lambda: model(chat_over(running)).bind(temperature=0.5, max_tokens=9).ainvoke("How much?"))
    sent = running[0].asked[0].json
    assert (sent["temperature"], sent["max_tokens"], sent["seed"]) == (0.5, 9, 1)


@tool
def weather(city: str, days: int = 1) -> str:
    """The weather of a city."""
    return f"{city}: rain for {days}"


def test_tools_go_along_when_another_provider_answers(servers: Servers) -> None:
    running = servers("status:500", "calls")
    priced = {"prices": {"input": 1_000_000, "output": 0}}
    asked = model(chat_over(running, {}, priced)).bind_tools([weather])
    reply, request = within(lambda: asked.ainvoke("How is the weather?"))
    assert [(call["name"], call["args"]) for call in reply.tool_calls] == [
        ("weather", {"city": "Rīga", "days": 2}),
        ("weather", {"city": "Oslo"}),
    ]
    assert [server.asked[0].json["tools"][0]["function"]["name"] for server in running] == ["weather", "weather"]
    assert (reply.response_metadata["finish_reason"], reply.response_metadata["provider"]) == ("tool_calls", "b")
    assert [call.cost for call in request.calls] == [11]


def test_a_failure_is_an_error_of_the_answer(servers: Servers) -> None:
    with pytest.raises(ModelError, match="the model gave no answer: a: HTTP 400") as caught:
        within(lambda: model(chat_over(servers("status:400"))).ainvoke("How much?"))
    assert caught.value.failure == "refused"


def test_a_reply_that_is_left_is_closed_with_the_request(servers: Servers) -> None:
    running = servers("hang_in_stream")

    async def leave() -> None:
        request = RequestState([], None, decline="No.", seconds=60)
        enter_request(request)
        stream = model(chat_over(running)).astream("How much?")
        assert (await anext(stream)).text
        await request.close_replies()
        assert await asyncio.to_thread(running[0].asked[0].gone.wait, 60)

    asyncio.run(leave())


def test_outside_of_a_request_there_is_no_answer(servers: Servers) -> None:
    with pytest.raises(SluiceError, match="answer within a request"):
        asyncio.run(model(chat_over(servers("normal"))).ainvoke("How much?"))
