"""Returns memory that the allocator retains after it was freed to the operating system.

Packs differ in length, so what one step frees rarely fits the next one. In glibc's heaps, of which each thread has its
own, holes are left, and a run grows for hundreds of steps. engine/docs/reference/training.md has the figures.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any


def give_back() -> None:
    """Nothing where the C library is not glibc: other allocators do it by themselves, or cannot be asked."""
    if trim := _trim():
        trim(0)


@cache
def _trim() -> Any:
    try:
        return getattr(ctypes.CDLL(None), "malloc_trim", None)
    except (OSError, TypeError):  # no such thing as the program's own symbols: Windows
        return None
