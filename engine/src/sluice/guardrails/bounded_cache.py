"""A bounded cache of results for recent texts: templates, greetings and passages recur."""

from __future__ import annotations

from threading import Lock
from typing import Generic, TypeVar

Found = TypeVar("Found")


class BoundedCache(Generic[Found]):
    """By text, up to `size`; the oldest is forgotten first. Safe for many threads."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._found: dict[str, Found] = {}
        self._changing = Lock()

    def __contains__(self, text: str) -> bool:
        return text in self._found

    def get(self, text: str) -> Found | None:
        return self._found.get(text)

    def keep(self, text: str, found: Found) -> None:
        with self._changing:
            self._found[text] = found
            if len(self._found) > self._size:
                del self._found[next(iter(self._found))]
