"""A provider that hangs: the service answers in time all the same, retries and fallback included."""

from __future__ import annotations

import json

import pytest

from support.providers.failures import failing

DEADLINE = 0.6

hanging = pytest.mark.parametrize(
    ("first", "second"), [("hang", "hang"), ("status:500", "hang_in_stream"), ("reset", "hang")]
)
both_ways = pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])


@both_ways
@hanging
@pytest.mark.usefixtures("loopback")
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
