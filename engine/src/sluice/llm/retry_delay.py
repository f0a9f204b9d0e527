"""The delay before a retry: exponential with jitter, and at least as long as the provider asked for."""

from __future__ import annotations

import random

_FIRST = 0.1  # seconds
_LONGEST = 5.0


def pause(attempt: int, retry_after: float | None) -> float:
    """Seconds to wait after the attempt with this number (0 is the first).

    Half of it is drawn by chance, so that callers that failed together do not come back together.
    """
    longest = min(_LONGEST, _FIRST * 2**attempt)
    drawn = random.uniform(longest / 2, longest)
    return drawn if retry_after is None else max(drawn, retry_after + random.uniform(0, _FIRST))
