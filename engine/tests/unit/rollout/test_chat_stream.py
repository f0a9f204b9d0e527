from __future__ import annotations

import json

import pytest

from sluice.rollout.chat_stream import ChatStream, request_body

CONTENT = b'data: {"choices": [{"delta": {"content": "Yes."}}]}\n'
ROLE = b'data: {"choices": [{"delta": {"role": "assistant"}}]}\n'
USAGE = b'data: {"choices": [], "usage": {"total_tokens": 3}}\n'
DONE = b"data: [DONE]\n"


def _read(*lines: bytes, seconds: float = 60) -> ChatStream:
    stream = ChatStream(seconds)
    for line in lines:
        if stream.feed(line):
            break
    return stream


def test_a_whole_answer_has_no_fault_and_both_times() -> None:
    stream = _read(ROLE, b"\n", b": comment\n", CONTENT, USAGE, DONE)
    assert stream.fault == ""
    assert stream.ttft_ms is not None
    assert stream.total_ms is not None
    assert 0 < stream.ttft_ms <= stream.total_ms


def test_lengths_are_those_of_the_answer_and_of_its_first_piece() -> None:
    stream = _read(ROLE, CONTENT, CONTENT, CONTENT, DONE)
    assert (stream.ttft_length, stream.total_length) == (4, 12)


@pytest.mark.parametrize("first", ["No.", "No.\n\n1. That"])
def test_what_stands_below_a_decline_is_no_part_of_its_length(first: str) -> None:
    pieces = [json.dumps({"choices": [{"delta": {"content": text}}]}) for text in (first, "\n2. is near.")]
    last = json.dumps({"choices": [{"delta": {}}], "declined": True})
    stream = _read(ROLE, *(f"data: {one}\n".encode() for one in (*pieces, last)), USAGE, DONE)
    assert (stream.ttft_length, stream.total_length, stream.fault) == (3, 3, "")


def test_a_role_alone_is_not_the_first_token() -> None:
    stream = _read(ROLE)
    assert stream.ttft_ms is None


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        ([ROLE, CONTENT], "the stream was cut before [DONE]"),
        ([], "the stream was cut before [DONE]"),
        ([ROLE, DONE], "the answer is empty"),
        ([b'data: {"choices": [{"delta": {"content": "  "}}]}\n', DONE], "the answer is empty"),
        ([CONTENT, b'data: {"error": {"message": "out of memory"}}\n', DONE], "error in the stream: "),
        ([b"data: {broken\n", DONE], "not a chat completion chunk: "),
        ([b'data: {"other": 1}\n', DONE], "not a chat completion chunk: "),
        ([b"data: 3\n", DONE], "not a chat completion chunk: "),
    ],
)
def test_what_is_not_a_whole_answer_is_named(lines: list[bytes], fault: str) -> None:
    assert _read(*lines).fault.startswith(fault)


def test_an_answer_that_goes_on_too_long_is_a_failure() -> None:
    assert _read(CONTENT, DONE, seconds=0).fault == "no whole answer within 0 s"


def test_the_request_asks_for_a_stream() -> None:
    body = request_body("Why?")
    assert body["stream"] is True
    assert body["messages"] == [{"role": "user", "content": "Why?"}]
