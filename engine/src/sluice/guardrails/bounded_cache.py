"""A bounded cache of results for recent texts: templates, greetings and passages recur."""

from __future__ import annotations

from threading import Lock
from typing import TypeVar

Found = TypeVar("Found")


class BoundedCache(dict[str, Found]):
    """By text, up to `size`; the oldest is forgotten first. Safe for many threads."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size
        self._changing = Lock()

    def __setitem__(self, text: str, found: Found) -> None:
        with self._changing:
            super().__setitem__(text, found)
            if len(self) > self._size:
                del self[next(iter(self))]
