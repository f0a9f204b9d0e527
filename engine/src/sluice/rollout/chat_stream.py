"""Asks a service on this machine, and validates and times its streamed answer."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import requests

PATH = "/v1/chat/completions"
RELEASE_HEADER = "x-sluice-release"
# The proxy's log names it, so that an answer that never came can be charged to a release.
REQUEST_ID = "X-Request-Id"


def request_body(asked: str | Sequence[Mapping[str, str]]) -> dict[str, Any]:
    messages = [{"role": "user", "content": asked}] if isinstance(asked, str) else [*asked]
    return {"model": "sluice", "stream": True, "messages": messages}


class ChatStream:
    """Validates an answer line by line; `fault` is empty if it is whole.

    Times are milliseconds since construction, lengths are characters, of a decline only its first line: the
    application writes the others at once. An answer that takes longer than `seconds` is a failure."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._started = time.perf_counter()
        self._error = self._text = ""
        self._done = False
        self.chunks: list[dict[str, Any]] = []
        self.ttft_ms: float | None = None
        self.total_ms: float | None = None
        self.ttft_length = self.total_length = 0

    def feed(self, line: bytes) -> bool:
        """Take one line of the body; True when the stream is over."""
        if self._elapsed() > self._seconds * 1000:
            self._error = f"no whole answer within {self._seconds:g} s"
            return True
        if not line.startswith(b"data:"):
            return False
        payload = line[5:].strip()
        if payload == b"[DONE]":
            self._done = True
            self.total_ms = self._elapsed()
            return True
        try:
            chunk = json.loads(payload)
            if "error" in chunk:
                self._error = f"error in the stream: {str(chunk['error'])[:200]}"
                return True
            self._text += "".join(choice.get("delta", {}).get("content") or "" for choice in chunk["choices"])
        except (ValueError, TypeError, KeyError, AttributeError):
            self._error = f"not a chat completion chunk: {payload[:80]!r}"
            return True
        self.chunks.append(chunk)
        if chunk.get("declined"):
            self._text = self._text.strip().partition("\n")[0]
        self.total_length = len(self._text.strip())
        if self._text and self.ttft_ms is None:
            self.ttft_ms, self.ttft_length = self._elapsed(), self.total_length
        self.ttft_length = min(self.ttft_length, self.total_length)
        return False

    @property
    def fault(self) -> str:
        if self._error or not self._done:
            return self._error or "the stream was cut before [DONE]"
        return "" if self.total_length else "the answer is empty"

    def _elapsed(self) -> float:
        return (time.perf_counter() - self._started) * 1000


def request(
    url: str, timeout: float, *, body: Any = None, headers: Mapping[str, str] = {}, stream: bool = False
) -> requests.Response:
    """Send one request, a POST if there is a body. Any status is an answer."""
    session = requests.Session()
    session.trust_env = False
    try:
        return session.request(
            "GET" if body is None else "POST",
            url,
            json=body,
            headers={**headers, "Connection": "close"},
            timeout=timeout,
            stream=stream,
            allow_redirects=False,
        )
    except requests.RequestException as error:
        reason: BaseException = error
        while reason.__context__:  # the words of the system: ConnectionRefusedError, not what was made of it
            reason = reason.__context__
        raise (reason if isinstance(reason, OSError) else error) from None


def lines_of(response: requests.Response) -> Iterator[bytes]:
    # As they arrive, in whatever size: the library's documentation has None, its types do not.
    return response.iter_lines(chunk_size=None)  # type: ignore[call-overload,no-any-return]
