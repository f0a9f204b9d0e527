"""Stores whose searches have little time, opened on a machine that is busy elsewhere."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import TypeVar

from sluice.core.errors import SluiceError

T = TypeVar("T")


def open_patiently(opened: ExitStack, make: Callable[[], AbstractContextManager[T]]) -> T:
    """Open a store that may miss its own time limit at first: again, for a minute."""
    end = time.monotonic() + 60
    while True:
        try:
            return opened.enter_context(make())
        except SluiceError:
            if time.monotonic() > end:
                raise
