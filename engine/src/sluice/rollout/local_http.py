"""HTTP to this machine's own services: without proxies from the environment, one connection for each request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import requests

# The proxy's log names it, so that an answer that never came can be charged to a release.
REQUEST_ID = "X-Request-Id"


def request(
    url: str, timeout: float, *, body: Any = None, headers: Mapping[str, str] = {}, stream: bool = False
) -> requests.Response:
    """Asks once, by POST where there is a body; any status is an answer."""
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
    """The lines of an answer that is read as it comes."""
    # As they arrive, in whatever size: the library's documentation has None, its types do not.
    return response.iter_lines(chunk_size=None)  # type: ignore[call-overload,no-any-return]
