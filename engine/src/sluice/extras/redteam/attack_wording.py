"""Generates many attacks from few wordings: placeholders are filled in, combinations are sampled evenly."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeVar

_PLACE = re.compile(r"\{(\w+)\}")
_STRIDE = 7  # shares no factor with the numbers of wordings, so that neighbours get unlike ones
Item = TypeVar("Item")


def fill(text: str, **values: str) -> str:
    """`{name}` replaced where a value is given; other braces stay, as JSON has them. Each value is filled in itself,
    so that an order may hold its canary."""
    return _PLACE.sub(lambda found: fill(values[found[1]], **values) if found[1] in values else found[0], text)


def turn(items: Sequence[Item], number: int) -> Item:
    """The items one after the other, for ever."""
    return items[number % len(items)]


def scattered(items: Sequence[Item], number: int) -> Item:
    """As `turn`, in an order in which neighbours lie apart."""
    return items[number * _STRIDE % len(items)]


def evenly(items: Sequence[Item], limit: int) -> list[Item]:
    """`limit` items at even distances, in order; all of them when there are no more."""
    if len(items) <= limit:
        return list(items)
    return [items[number * len(items) // limit] for number in range(limit)]
