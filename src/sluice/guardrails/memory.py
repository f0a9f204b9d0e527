"""What was found out about the last texts: templates, greetings and passages come again and again."""

from __future__ import annotations

from typing import Generic, TypeVar

Found = TypeVar("Found")


class Memory(Generic[Found]):
    """By text, the oldest forgotten first. Safe for many threads: every step is one of a dict's own."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._found: dict[str, Found] = {}

    def __contains__(self, text: str) -> bool:
        return text in self._found

    def get(self, text: str) -> Found | None:
        return self._found.get(text)

    def keep(self, text: str, found: Found) -> None:
        if len(self._found) >= self._size:
            self._found.pop(next(iter(self._found), text), None)
        self._found[text] = found
