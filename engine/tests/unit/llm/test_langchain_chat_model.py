from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.output_parsers import StrOutputParser

from sluice.llm.langchain_chat_model import as_langchain
from sluice.llm.provider_failures import ProviderError
from support.providers.clients import PARAMETERS, chat_over
from support.providers.server import TEXT, Upstream

Servers = Callable[..., list[Upstream]]


def test_langchain_gets_the_answer_its_usage_and_who_gave_it(servers: Servers) -> None:
    running = servers("status:500", "normal")
    model = as_langchain(chat_over(running), PARAMETERS, seconds=10)
    reply = model.invoke([SystemMessage("Be brief."), AIMessage("Yes?"), HumanMessage("How much?")], stop=["END"])
    assert reply.text == TEXT
    assert reply.usage_metadata == {"input_tokens": 11, "output_tokens": 3, "total_tokens": 14}
    assert (reply.response_metadata["provider"], reply.response_metadata["finish_reason"]) == ("b", "stop")
    sent = running[1].asked[0].json
    assert [message["role"] for message in sent["messages"]] == ["system", "assistant", "user"]
    assert sent["stop"] == ["END"]


def test_it_is_a_part_of_chains_and_streams(servers: Servers) -> None:
    chain = as_langchain(chat_over(servers("drip:0.02")), PARAMETERS, seconds=10) | StrOutputParser()

    async def pieces() -> list[str]:
        return [piece async for piece in chain.astream("How much?") if piece]

    found = asyncio.run(pieces())
    assert "".join(found) == TEXT
    assert len(found) > 1


def test_a_failure_stays_one_of_ours(servers: Servers) -> None:
    with pytest.raises(ProviderError, match="a: HTTP 400"):
        as_langchain(chat_over(servers("status:400")), PARAMETERS, seconds=10).invoke("How much?")
