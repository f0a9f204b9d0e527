"""The part of GitHub's REST API for comments, issues and releases: JSON over HTTPS with bounded retries."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from sluice.core.errors import SluiceError

DEFAULT_URL = "https://api.github.com"
VERSION = "2022-11-28"
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_TIMEOUT_S = 20.0
_ATTEMPTS = 4
_LONGEST_PAUSE_S = 30.0
_PER_PAGE = 100
_PAGES = 100


class GitHubStatusError(SluiceError):
    """GitHub answered and said no. `status` is that of HTTP."""

    def __init__(self, what: str, status: int, reason: str) -> None:
        super().__init__(f"{what}: GitHub answers {status}: {reason}", remedy="check the rights of GITHUB_TOKEN")
        self.status = status
        self.reason = reason


class GitHub:
    """A connection with a token. Answers 5xx, 429 and rate limits are asked again, four times in all."""

    def __init__(self, environment: Mapping[str, str], *, sleep: Callable[[float], None] = time.sleep) -> None:
        import httpx

        token = environment.get("GITHUB_TOKEN")
        if not token:
            raise SluiceError(
                "GITHUB_TOKEN is not set", remedy="give the step env: GITHUB_TOKEN: ${{ github.token }} to comment"
            )
        url = environment.get("GITHUB_API_URL") or DEFAULT_URL
        _require_safe("GITHUB_API_URL", url)
        self._sleep = sleep
        self._errors = httpx.TransportError
        self._client = httpx.Client(
            base_url=url.rstrip("/"),
            timeout=_TIMEOUT_S,
            trust_env=urlsplit(url).hostname not in _LOOPBACK,
            headers={
                "Accept": "application/vnd.github+json",
                "Authorization": f"Bearer {token}",
                "User-Agent": "sluice",
                "X-GitHub-Api-Version": VERSION,
            },
        )

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The parsed answer, None where it has no content. RefusedError for any status that is not 2xx."""
        return self._ask(method, path, json=body)

    def upload(self, url: str, content: bytes) -> Any:
        """Sends a file to the address that a release names for its files: as `call`, on another host."""
        _require_safe("upload_url", url)
        return self._ask("POST", url, content=content, headers={"Content-Type": "application/octet-stream"})

    def _ask(self, method: str, path: str, **options: Any) -> Any:
        what = f"{method} {path}"
        for attempt in range(1, _ATTEMPTS + 1):
            pause = min(2.0 ** (attempt - 1), _LONGEST_PAUSE_S)
            try:
                response = self._client.request(method, path, **options)
            except self._errors as error:
                if attempt == _ATTEMPTS:
                    raise SluiceError(f"{what}: no answer of GitHub: {type(error).__name__}: {error}") from None
                self._sleep(pause)
                continue
            again, asked = _again(response.status_code, response.headers)
            if again and attempt < _ATTEMPTS:
                self._sleep(min(asked or pause, _LONGEST_PAUSE_S))
                continue
            return _content(what, response)
        raise AssertionError("unreachable")

    def listed(self, path: str) -> list[dict[str, Any]]:
        """All entries of a list, from all its pages; of a list without end, the first ten thousand."""
        found: list[dict[str, Any]] = []
        for page in range(1, _PAGES + 1):
            entries = self.call("GET", f"{path}{'&' if '?' in path else '?'}per_page={_PER_PAGE}&page={page}")
            found += entries
            if len(entries) < _PER_PAGE:
                break
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()


def _require_safe(name: str, url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme != "https" and parts.hostname not in _LOOPBACK:
        raise SluiceError(f"{name}: {url}: not https; the token is not sent there")


def _again(status: int, headers: Mapping[str, str]) -> tuple[bool, float]:
    """Whether to ask again, and after how many seconds if GitHub says so. A 403 may be a rate limit in disguise."""
    asked = headers.get("retry-after", "")
    seconds = float(asked) if asked.isdigit() else 0.0
    limited = status == 403 and (bool(asked) or headers.get("x-ratelimit-remaining") == "0")
    return status >= 500 or status == 429 or limited, seconds


def _content(what: str, response: Any) -> Any:
    try:
        value = response.json() if response.content else None
    except ValueError:
        value = None
    if not 200 <= response.status_code < 300:
        reason = value.get("message") if isinstance(value, dict) else response.reason_phrase
        raise GitHubStatusError(what, response.status_code, str(reason))
    if response.content and value is None:
        raise SluiceError(f"{what}: the answer of GitHub is no JSON")
    return value
