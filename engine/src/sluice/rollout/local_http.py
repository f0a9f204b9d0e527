"""Plain HTTP to this machine's own services: without proxies from the environment, one connection for each request."""

from __future__ import annotations

import http.client
from dataclasses import dataclass
from urllib.parse import urlsplit

# The proxy's log names it, so that an answer that never came can be charged to a release.
REQUEST_ID = "X-Request-Id"


def connect(url: str, timeout: float) -> http.client.HTTPConnection:
    """A connection that is opened by its first request.

    Args:
        url: whose host and port count.
        timeout: seconds, for each wait.
    """
    parts = urlsplit(url)
    return http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=timeout)


@dataclass(frozen=True)
class HttpResponse:
    """A whole answer; header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


def get(url: str, timeout: float) -> HttpResponse:
    """Asks once; any status is an answer.

    Args:
        url: what is asked for.
        timeout: seconds, for each wait.

    Raises:
        OSError: there is none; or http.client.HTTPException.
    """
    connection = connect(url, timeout)
    try:
        connection.request("GET", urlsplit(url).path or "/", headers={"Connection": "close"})
        response = connection.getresponse()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return HttpResponse(response.status, headers, response.read())
    finally:
        connection.close()
