"""Changes in a cluster as they happen: a list, then a watch from its resourceVersion, as the Kubernetes API defines it.

A broken connection resumes at the last resourceVersion. When that one is too old (410 Gone), the list is read again.
`follow` runs in a thread of its own for each resource and puts events on one queue.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import httpx

from sluice.cluster.kubectl import ClusterUnreachableError, check, read
from sluice.core.errors import SluiceError

Object = Mapping[str, Any]


@dataclass(frozen=True)
class WatchedResource:
    """One collection of the API server: `path` as in /api/v1/namespaces/NAMESPACE/pods, `query` its selectors."""

    name: str
    path: str
    query: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class WatchTimeouts:
    """Seconds. `lost`: how long without the API server until we give up. `watch`: a watch is renewed after it.
    `silence`: more than that, so that a connection that died without a word is noticed.
    `pull`: how long a pod may fail to start.
    `settle`: how long weights may take to be back after an abort. `again`: first and longest pause between attempts."""

    lost: float = 120.0
    watch: int = 60
    silence: float = 75.0
    pull: float = 120.0
    settle: float = 30.0
    again: tuple[float, float] = (0.5, 10.0)


@dataclass(frozen=True)
class WatchEvent:
    """`listed`: `objects` is all there is now. `changed`, `gone`: one object. `lost`: the API server does not answer,
    for the reason in `text`. `back`: it answers again. `refused`: it does not want to; nothing more comes."""

    source: str
    what: Literal["listed", "changed", "gone", "lost", "back", "refused"]
    objects: tuple[Object, ...] = ()
    text: str = ""


class _VersionExpiredError(Exception):
    """410 Gone: the resourceVersion is too old."""


def follow(
    client: httpx.Client,
    source: WatchedResource,
    tell: Callable[[WatchEvent], None],
    stop: threading.Event,
    patience: WatchTimeouts,
) -> None:
    """Tells what happens in `source` until `stop` is set or the API server refuses."""
    version = ""
    pause, longest = patience.again
    lost = False

    def heard() -> None:
        nonlocal lost, pause
        pause = patience.again[0]
        if lost:
            lost = False
            tell(WatchEvent(source.name, "back"))

    while not stop.is_set():
        try:
            if not version:
                document = read(client, source.path, **dict(source.query))
                version = str(document["metadata"]["resourceVersion"])
                heard()
                tell(WatchEvent(source.name, "listed", tuple(document.get("items") or ())))
            for kind, changed in _watch(client, source, version, patience, heard):
                version = str(changed["metadata"]["resourceVersion"])
                if kind != "BOOKMARK":
                    tell(WatchEvent(source.name, "gone" if kind == "DELETED" else "changed", (changed,)))
                if stop.is_set():
                    return
            stop.wait(0.05)  # the server ended the watch: that is how a watch ends
        except _VersionExpiredError:
            version = ""
        except (ClusterUnreachableError, httpx.TransportError, httpx.StreamError) as error:
            if stop.is_set():
                return
            lost = True
            tell(
                WatchEvent(source.name, "lost", text=str(error).splitlines()[0] if str(error) else type(error).__name__)
            )
            stop.wait(pause)
            pause = min(pause * 2, longest)
        except SluiceError as error:
            tell(WatchEvent(source.name, "refused", text=error.message))
            return
        except RuntimeError:
            if not stop.is_set():
                raise
            return  # the client was closed between two looks at `stop`


def _watch(
    client: httpx.Client, source: WatchedResource, version: str, patience: WatchTimeouts, heard: Callable[[], None]
) -> Iterator[tuple[str, Object]]:
    query = {"watch": "true", "resourceVersion": version, "allowWatchBookmarks": "true", **dict(source.query)}
    query["timeoutSeconds"] = str(patience.watch)
    with client.stream("GET", source.path, params=query, timeout=httpx.Timeout(30, read=patience.silence)) as response:
        if response.status_code == 410:
            raise _VersionExpiredError
        check(response)
        heard()
        for line in response.iter_lines():
            if not line.strip():
                continue
            try:
                event = json.loads(line)
                kind, changed = event["type"], event["object"]
            except (ValueError, KeyError):
                raise ClusterUnreachableError(f"a line that was cut off: {line[:80]}") from None
            if kind == "ERROR" and changed.get("code") == 410:
                raise _VersionExpiredError
            if kind == "ERROR":
                raise ClusterUnreachableError(str(changed.get("message", changed)))
            yield kind, changed
