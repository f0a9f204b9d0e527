"""A scripted HTTP server on loopback that speaks the formats of every provider, well or badly, as the test says.

Calls of tools are as in openai 2.54 (types/chat/chat_completion_chunk.py), anthropic 2.7 (types/
raw_message_stream_event.py) and botocore 1.43 (data/bedrock-runtime, ConverseStreamOutput); the kinds read them with
these libraries, and `unit/llm/test_openai_compatible.py` the first. `/apply-template` is llama.cpp's (xllamacpp
2026.10): the same test asks the real one.

It runs in a thread with an event loop of its own, so that it stays awake whatever the client's loop does.
"""

import asyncio
import binascii
import json
import struct
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from aiohttp import web

WORDS = ("64 tok", "ens. A", "ll ü.")
TEXT = "".join(WORDS)
USAGE = (11, 3)
CALLS = (("c1", "weather", '{"city": "Rīga", "days": 2}'), ("c2", "weather", '{"city": "Oslo"}'))
Blocks = Sequence[bytes]
Calls = Sequence[tuple[str, str, str]]  # id, name and arguments of each call of a tool


def sse(value: Any, event: str = "") -> bytes:
    name = f"event: {event}\n".encode() if event else b""
    return name + b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"


def frame(headers: dict[str, str], payload: bytes) -> bytes:
    """One message of AWS's event stream: prelude, headers (type 7, string), payload, two checksums."""
    head = b""
    for name, value in headers.items():
        head += struct.pack("!B", len(name)) + name.encode()
        head += b"\x07" + struct.pack("!H", len(value.encode())) + value.encode()
    prelude = struct.pack("!II", 16 + len(head) + len(payload), len(head))
    message = prelude + struct.pack("!I", binascii.crc32(prelude)) + head + payload
    return message + struct.pack("!I", binascii.crc32(message))


def _event(kind: str, payload: bytes) -> bytes:
    return frame({":event-type": kind, ":content-type": "application/json", ":message-type": "event"}, payload)


def openai_blocks(
    words: Sequence[str] = WORDS, *, finish: str = "stop", calls: Calls = (), used: tuple[int, int] = USAGE
) -> Blocks:
    def chunk(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        return {"choices": [{"index": 0, "delta": delta, "finish_reason": reason}], "usage": None}

    usage = {"prompt_tokens": used[0], "completion_tokens": used[1], "total_tokens": sum(used)}
    frames = [chunk({"role": "assistant", "content": ""}), *(chunk({"content": word}) for word in words)]
    for index, (name_id, name, arguments) in enumerate(calls):
        said = [{"id": name_id, "type": "function", "function": {"name": name, "arguments": ""}}]
        said += [{"function": {"arguments": part}} for part in (arguments[:9], arguments[9:])]
        frames += [chunk({"tool_calls": [{"index": index, **one}]}) for one in said]
    frames += [chunk({}, finish), {"choices": [], "usage": usage}]
    base = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return [sse(base | entry) for entry in frames] + [b"data: [DONE]\n\n"]


def anthropic_blocks(words: Sequence[str] = WORDS, *, calls: Calls = ()) -> Blocks:
    message = {"id": "m", "type": "message", "role": "assistant", "content": [], "model": "m", "stop_reason": None}
    message |= {"stop_sequence": None, "usage": {"input_tokens": USAGE[0], "output_tokens": 0}}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}} for word in words),
        {"type": "content_block_stop", "index": 0},
        *(event for index, call in enumerate(calls, 1) for event in _anthropic_call(index, *call)),
        {
            "type": "message_delta",
            "delta": {"stop_reason": "tool_use" if calls else "end_turn", "stop_sequence": None},
            "usage": {"input_tokens": USAGE[0], "output_tokens": USAGE[1]},
        },
        {"type": "message_stop"},
    ]
    return [sse(event, event["type"]) for event in events]


def _anthropic_call(index: int, name_id: str, name: str, arguments: str) -> Iterator[dict[str, Any]]:
    block = {"type": "tool_use", "id": name_id, "name": name, "input": {}}
    yield {"type": "content_block_start", "index": index, "content_block": block}
    for part in (arguments[:9], arguments[9:]):
        delta = {"type": "input_json_delta", "partial_json": part}
        yield {"type": "content_block_delta", "index": index, "delta": delta}
    yield {"type": "content_block_stop", "index": index}


def bedrock_blocks(words: Sequence[str] = WORDS, *, calls: Calls = ()) -> Blocks:
    events: list[tuple[str, Any]] = [("messageStart", {"role": "assistant"})]
    events += [("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": word}}) for word in words]
    events.append(("contentBlockStop", {"contentBlockIndex": 0}))
    for index, (name_id, name, arguments) in enumerate(calls, 1):
        place = {"contentBlockIndex": index}
        events.append(("contentBlockStart", place | {"start": {"toolUse": {"toolUseId": name_id, "name": name}}}))
        for part in (arguments[:9], arguments[9:]):
            events.append(("contentBlockDelta", place | {"delta": {"toolUse": {"input": part}}}))
        events.append(("contentBlockStop", place))
    events.append(("messageStop", {"stopReason": "tool_use" if calls else "end_turn"}))
    usage = {"inputTokens": USAGE[0], "outputTokens": USAGE[1], "totalTokens": sum(USAGE)}
    events.append(("metadata", {"usage": usage, "metrics": {"latencyMs": 1}}))
    return [_event(kind, json.dumps(value, ensure_ascii=False).encode()) for kind, value in events]


def sagemaker_blocks(words: Sequence[str] = WORDS, *, finish: str = "stop", calls: Calls = ()) -> Blocks:
    """What the container streams, in parts that are cut anywhere."""
    stream = b"".join(openai_blocks(words, finish=finish, calls=calls))
    return [_event("PayloadPart", stream[start : start + 150]) for start in range(0, len(stream), 150)]


def aws_error(kind: str) -> Blocks:
    return [frame({":message-type": "exception", ":exception-type": kind}, b'{"message": "no"}')]


@dataclass(frozen=True)
class Format:
    """How one API answers: its whole answer in blocks, one that calls tools, and an error inside the stream."""

    blocks: Callable[[], Blocks]
    calls: Callable[[], Blocks]
    error: Callable[[], Blocks]
    content_type: str


_OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
_SSE, _AWS = "text/event-stream", "application/vnd.amazon.eventstream"
FORMATS = {
    "openai": Format(
        openai_blocks,
        partial(openai_blocks, (), finish="tool_calls", calls=CALLS),
        lambda: [sse({"error": {"message": "overloaded", "type": "server_error", "code": 503}})],
        _SSE,
    ),
    "anthropic": Format(
        anthropic_blocks, partial(anthropic_blocks, (), calls=CALLS), lambda: [sse(_OVERLOADED, "error")], _SSE
    ),
    "bedrock": Format(
        bedrock_blocks, partial(bedrock_blocks, (), calls=CALLS), lambda: aws_error("serviceUnavailableException"), _AWS
    ),
    "sagemaker": Format(
        sagemaker_blocks,
        partial(sagemaker_blocks, (), finish="tool_calls", calls=CALLS),
        lambda: aws_error("InternalStreamFailure"),
        _AWS,
    ),
}
_PATHS = {
    "chat/completions": "openai",
    "messages": "anthropic",
    "converse-stream": "bedrock",
    "invocations-response-stream": "sagemaker",
}


@dataclass
class Asked:
    """One request as it came, and the connection that it came by. `gone` is set when its client closed that before the
    end of the answer."""

    path: str
    raw_path: str
    headers: dict[str, str]
    body: bytes
    connection: object = None
    begun: threading.Event = field(default_factory=threading.Event)
    gone: threading.Event = field(default_factory=threading.Event)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Upstream:
    """`script` is what it does next, one word a request; the last word is kept for all further ones.

    normal · status:<n> · busy:<seconds> (429 with Retry-After) · reset · hang (before the headers) ·
    hang_in_stream · late:<seconds> (until the first token) · drip:<seconds> (between blocks) · garbage ·
    cut (in the middle) · empty (an end without an answer) · error (an event in the stream, first) ·
    late_error (an event after the first word) · calls (the tools of CALLS) ·
    too_long (llama.cpp refuses a prompt)

    `reply`: makes the text of an answer, or the calls of tools, out of the request's messages, in place of `WORDS`; not
    in Anthropic's format. `used`: the tokens that an answer in OpenAI's format says it took. `template_takes_tools`:
    what llama.cpp says of its chat template.
    """

    def __init__(self) -> None:
        self.script: list[str] = ["normal"]
        self.asked: list[Asked] = []
        self.reply: Callable[[list[dict[str, Any]]], str | Calls] | None = None
        self.used = USAGE
        self.template_takes_tools = True
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(60)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60)
        assert not self._thread.is_alive()

    def next_word(self) -> str:
        return self.script.pop(0) if len(self.script) > 1 else self.script[0]

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        app = web.Application(client_max_size=1 << 22)
        app.router.add_post("/{path:.*}", self._answer)
        runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
        self._loop.run_until_complete(runner.setup())
        site = web.TCPSite(runner, "127.0.0.1", 0)
        self._loop.run_until_complete(site.start())
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        asked = Asked(request.path, request.raw_path, headers, body, request.transport)
        if request.path.endswith("/apply-template"):
            return web.json_response({"prompt": body.decode() if self.template_takes_tools else "user: ?"})
        self.asked.append(asked)
        word, _, figure = self.next_word().partition(":")
        kind = next(kind for ending, kind in _PATHS.items() if request.path.endswith(ending))
        form = FORMATS[kind]
        if self.used != USAGE:
            form = replace(form, blocks=partial(openai_blocks, used=self.used))
        if self.reply is not None:
            said = self.reply(asked.json["messages"])
            words, calls = ([said], ()) if isinstance(said, str) else ([], said)
            finish = {} if kind == "bedrock" else {"finish": "tool_calls" if calls else "stop"}
            made = {"bedrock": bedrock_blocks, "sagemaker": sagemaker_blocks}.get(kind, openai_blocks)
            form = replace(form, blocks=partial(made, words, calls=calls, **finish))
        asked.begun.set()
        try:
            return await self._act(request, form, word, figure)
        except (asyncio.CancelledError, ConnectionResetError):
            asked.gone.set()
            raise

    async def _act(self, request: web.Request, form: Format, word: str, figure: str) -> web.StreamResponse:
        transport = request.transport
        assert transport is not None
        if word in ("status", "busy"):
            status = int(figure) if word == "status" else 429
            headers = {"retry-after": figure} if word == "busy" else {}
            fault = {"error": {"type": "scripted", "message": "the question was: secret"}, "message": "secret"}
            return web.json_response(fault, status=status, headers=headers)
        if word == "too_long":
            said = "request (4530 tokens) exceeds the available context size (2048 tokens), try increasing it"
            fault = {"error": {"type": "exceed_context_size_error", "code": 400, "message": said}}
            return web.json_response(fault, status=400)
        if word == "reset":
            transport.abort()
            await asyncio.sleep(3600)
        if word == "hang":
            await asyncio.sleep(3600)
        response = web.StreamResponse(headers={"content-type": form.content_type})
        response.enable_chunked_encoding()
        await response.prepare(request)
        async for block in self._blocks(form, word, figure):
            await response.write(block)
        if word == "cut":
            transport.close()
            await asyncio.sleep(3600)
        await response.write_eof()
        return response

    @staticmethod
    async def _blocks(form: Format, word: str, figure: str) -> AsyncIterator[bytes]:
        blocks = list(form.calls() if word == "calls" else form.blocks())
        middle = len(blocks) - 4 if form.content_type.startswith("application") else 3
        if word == "late":
            await asyncio.sleep(float(figure))
        if word == "garbage":
            blocks = [b"data: {not json}\n\n" * 3]
        elif word == "empty":
            blocks = []
        elif word == "error":
            blocks = list(form.error())
        elif word == "late_error":
            blocks = [*blocks[:middle], *form.error()]
        elif word == "cut":
            blocks = blocks[:middle]
        for number, block in enumerate(blocks):
            if word == "hang_in_stream" and number == middle:
                await asyncio.sleep(3600)
            yield block
            await asyncio.sleep(float(figure) if word == "drip" else 0)
            if word in ("cut", "late_error") and number == middle - 1:
                await asyncio.sleep(0.05)  # what comes in one block with its text is not late


@contextmanager
def upstream(*script: str) -> Iterator[Upstream]:
    """A running server; `script` as for `Upstream`."""
    server = Upstream()
    if script:
        server.script = list(script)
    server.start()
    try:
        yield server
    finally:
        with suppress(RuntimeError):
            server.stop()
