"""Stores whose searches have little time, opened on a machine that is busy elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import TypeVar

from sluice.core.errors import SluiceError
from sluice.core.processes import wait_until

T = TypeVar("T")


def open_patiently(opened: ExitStack, make: Callable[[], AbstractContextManager[T]]) -> T:
    """Open a store that may miss its own time limit at first: again, for a minute."""
    there: list[T] = []

    def is_open() -> bool:
        try:
            there.append(opened.enter_context(make()))
        except SluiceError:
            return False
        return True

    assert wait_until(is_open, seconds=60)
    return there[0]
