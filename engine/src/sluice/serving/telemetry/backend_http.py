"""HTTP requests to a telemetry backend: maps a status to an action for the batch; response bodies are never logged."""

from __future__ import annotations

import gzip
from collections.abc import Mapping

import httpx

from sluice.serving.telemetry.background_queue import BatchLostError, RetryLaterError

# What OTLP calls retryable, and 500, which collectors answer while they start.
_LATER = {408, 429, 500, 502, 503, 504}
_LONGEST = 1 << 20  # bytes of an answer that are read


class BackendClient:
    """One kept connection. `timeout` in seconds for connecting and for each silence of the backend."""

    def __init__(self, timeout: float, headers: Mapping[str, str]) -> None:
        self._client = httpx.Client(timeout=timeout, headers=dict(headers), follow_redirects=False)

    def send(
        self,
        method: str,
        url: str,
        content: bytes = b"",
        *,
        kind: str = "application/json",
        headers: Mapping[str, str] | None = None,
        compress: bool = False,
        allowed: frozenset[int] = frozenset(),
    ) -> tuple[int, str, bytes]:
        """Status, content type and body of a 2xx, or of a status in `allowed`. RetryLaterError or BatchLostError
        otherwise."""
        sent = {"content-type": kind, **(headers or {})}
        if compress:
            content, sent["content-encoding"] = gzip.compress(content, 1), "gzip"
        try:
            with self._client.stream(method, url, content=content, headers=sent) as reply:
                body = b""
                for piece in reply.iter_bytes():
                    body += piece
                    if len(body) > _LONGEST:
                        raise BatchLostError("garbage", f"{url}: the answer does not end")
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise RetryLaterError(f"{url}: {type(error).__name__}") from None
        except (httpx.InvalidURL, httpx.TooManyRedirects, UnicodeError) as error:
            raise BatchLostError("refused", f"{url}: {type(error).__name__}") from None
        status = reply.status_code
        if 200 <= status < 300 or status in allowed:
            return status, reply.headers.get("content-type", ""), body
        if status in _LATER:
            raise RetryLaterError(f"{url}: status {status}")
        raise BatchLostError("refused", f"{url}: status {status}")

    def close(self) -> None:
        self._client.close()
