"""A provider that hangs: the service answers in time all the same, retries and fallback included."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest

from fakes import HITS, NoChecks, ScriptedRetriever, scripted_bundle
from providing import chat_over
from sluice.app.api import create_app
from sluice.app.chain import AnswerChain
from sluice.app.middleware import Traffic
from upstream import Upstream, upstream

DEADLINE = 0.6
LLM = {"threads": 1, "slots": 2, "context": 2048, "timeout_seconds": DEADLINE}
BODY = {"messages": [{"role": "user", "content": "How much overlap do chunks have?"}]}


@pytest.fixture
def pair(loopback: None) -> Iterator[list[Upstream]]:  # noqa: ARG001 - it opens loopback
    with ExitStack() as stack:
        yield [stack.enter_context(upstream()) for _ in range(2)]


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize(("first", "second"), [("hang", "hang"), ("status:500", "hang_in_stream"), ("reset", "hang")])
def test_the_answer_is_a_504_at_the_deadline(pair: list[Upstream], first: str, second: str, stream: bool) -> None:
    pair[0].script, pair[1].script = [first], [second]
    bundle = scripted_bundle(llm=LLM)
    changes = {"retries": 3, "timeouts": {"connect": 1, "queue": 1, "first_token": 0.2}}
    last = {"retries": 3, "timeouts": {"connect": 1, "queue": 1, "first_token": 60}}
    chain = AnswerChain(bundle, chat_over(pair, changes, last), ScriptedRetriever(HITS), NoChecks())
    transport = httpx.ASGITransport(create_app(bundle, chain, Traffic()))

    async def post() -> httpx.Response:
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.post("/v1/chat/completions", json={**BODY, "stream": stream})

    began = time.monotonic()
    response = asyncio.run(post())
    seconds = time.monotonic() - began
    if stream and second == "hang_in_stream":  # a sentence was sent already: the stream ends with an error event
        assert response.status_code == 200
        assert '"code":"model_timeout"' in response.text
    else:
        assert response.status_code == 504
        assert response.json()["error"]["code"] == "model_timeout"
    assert DEADLINE * 0.9 <= seconds < DEADLINE + 3  # a guard against hanging; benchmarks/providers.py has the figure
