import json
from collections.abc import Iterator

import pytest

from sluice.core.processes import free_port
from sluice.rollout.chat_stream import ChatStream, request
from support.local_server import QuietHandler, local_server

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


@pytest.mark.parametrize("first", ["No.", "No.\n\n1. That"])
def test_what_stands_below_a_decline_is_no_part_of_its_length(first: str) -> None:
    pieces = [json.dumps({"choices": [{"delta": {"content": text}}]}) for text in (first, "\n2. is near.")]
    last = json.dumps({"choices": [{"delta": {}}], "declined": True})
    stream = _read(ROLE, *(f"data: {one}\n".encode() for one in (*pieces, last)), USAGE, DONE)
    assert (stream.ttft_length, stream.total_length, stream.fault) == (3, 3, "")


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        ([ROLE, CONTENT], "the stream was cut before [DONE]"),
        ([b'data: {"choices": [{"delta": {"content": "  "}}]}\n', DONE], "the answer is empty"),
        ([CONTENT, b'data: {"error": {"message": "out of memory"}}\n', DONE], "error in the stream: "),
        ([b"data: {broken\n", DONE], "not a chat completion chunk: "),
    ],
)
def test_what_is_not_a_whole_answer_is_named(lines: list[bytes], fault: str) -> None:
    assert _read(*lines).fault.startswith(fault)


def test_an_answer_that_goes_on_too_long_is_a_failure() -> None:
    assert _read(CONTENT, DONE, seconds=0).fault == "no whole answer within 0 s"


pytestmark = pytest.mark.usefixtures("loopback")


class _Nothing(QuietHandler):
    def do_GET(self) -> None:
        self.reply(404, b"", headers={"X-Sluice-Release": "r-1"})


@pytest.fixture
def address() -> Iterator[str]:
    with local_server(_Nothing) as address:
        yield address


def test_any_status_is_an_answer_and_proxies_are_ignored(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    missing = request(f"{address}/nothing", timeout=60)
    assert (missing.status_code, missing.headers["x-sluice-release"]) == (404, "r-1")


def test_no_answer_is_an_os_error() -> None:
    with pytest.raises(OSError, match="refused"):
        request(f"http://127.0.0.1:{free_port()}/", timeout=60)
