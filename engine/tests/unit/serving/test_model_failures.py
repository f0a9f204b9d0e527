import asyncio
import json

import pytest

from support.providers.failures import Told, failing
from support.providers.server import WORDS

pytestmark = pytest.mark.usefixtures("loopback")

TROUBLE = ["down", "busy:1", "garbage"]
SILENT = ["hang"]
both_ways = pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])


def ask(first: str, second: str, *, stream: bool) -> tuple[Told, int]:
    """The answer, and how often the first provider was asked. `down`: nobody listens."""
    with failing(deadline=120, a_first_token=0.3 if first in SILENT else 60) as service:
        for server, word in ((service.a, first), (service.b, second)):
            server.script = [word]
            if word == "down":
                server.stop()
        answer = asyncio.run(service.ask(stream=stream))
        return answer, len(service.a.asked)


@both_ways
@pytest.mark.parametrize("word", TROUBLE)
def test_without_another_provider_it_is_a_502(word: str, stream: bool) -> None:
    answer, _ = ask(word, word, stream=stream)
    assert answer.status == 502
    error = json.loads(answer.body)["error"]
    assert (error["code"], error["type"]) == ("model_error", "server_error")
    assert "secret" not in answer.body  # what the provider said may quote the question


@both_ways
def test_models_without_a_place_are_a_503_that_says_when_to_come_back(stream: bool) -> None:
    async def play() -> Told:
        waiting = []
        for server in (service.a, service.b):
            waiting.append(asyncio.create_task(service.ask(stream=stream)))
            while not server.asked:
                await asyncio.sleep(0.01)
        answer = await service.ask(stream=stream)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        return answer

    with failing(deadline=120, a_first_token=60, places=1) as service:
        service.a.script = service.b.script = ["hang"]
        answer = asyncio.run(play())
    assert answer.status == 503
    assert json.loads(answer.body)["error"]["code"] == "overloaded"
    assert (b"retry-after", b"1") in service.sent[0]["headers"]


@both_ways
def test_a_prompt_that_is_too_long_is_the_caller_s_to_shorten(stream: bool) -> None:
    answer, asked = ask("too_long", "normal", stream=stream)
    assert (answer.status, asked) == (400, 1)
    error = json.loads(answer.body)["error"]
    assert (error["code"], error["param"]) == ("context_length_exceeded", "messages")
    assert "4530 tokens, and the model takes 2048" in error["message"]


@both_ways
@pytest.mark.parametrize("word", [*TROUBLE, *SILENT])
def test_with_another_provider_it_is_not_noticed(word: str, stream: bool) -> None:
    answer, _ = ask(word, "normal", stream=stream)
    assert answer.status == 200
    assert WORDS[0] in answer.body
    assert "[DONE]" in answer.body or not stream


DEADLINE = 0.6


@both_ways
@pytest.mark.parametrize(("first", "second"), [("hang", "hang"), ("status:500", "hang_in_stream")])
def test_the_answer_is_a_504_at_the_deadline(first: str, second: str, stream: bool) -> None:
    with failing(deadline=DEADLINE, a_first_token=DEADLINE / 3) as service:
        service.a.script, service.b.script = [first], [second]
        answer = service.answer(stream=stream, patient=True)
    if stream and second == "hang_in_stream":  # a sentence was sent already: the stream ends with an error event
        assert answer.status == 200
        assert '"code":"model_timeout"' in answer.body
    else:
        assert answer.status == 504
        assert json.loads(answer.body)["error"]["code"] == "model_timeout"
    assert answer.seconds >= DEADLINE * 0.9
