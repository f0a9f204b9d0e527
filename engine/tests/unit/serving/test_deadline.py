"""A provider that hangs: the service answers in time all the same, retries and fallback included."""

from __future__ import annotations

import json

import pytest

from support.providers.failures import failing, overshoots

DEADLINE = 0.6
LATE = 0.25
ROUNDS = 5

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


@both_ways
@hanging
@pytest.mark.usefixtures("loopback")
def test_it_is_over_250_ms_after_the_deadline(first: str, second: str, stream: bool) -> None:
    """By the clock of the event loop that answers, which does not run while the machine does something else; eight at
    once. What always takes longer does so in every round."""
    rounds = []
    for _ in range(ROUNDS):
        rounds.append(max(overshoots(first, second, deadline=DEADLINE, callers=8, stream=stream)))
        if rounds[-1] <= LATE:
            return
    pytest.fail(f"seconds after the deadline: {rounds}")
