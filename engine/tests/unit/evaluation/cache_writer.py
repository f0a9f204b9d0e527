"""A process that fills a response cache, for tests that kill it."""

from __future__ import annotations

import itertools
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from sluice.core.digests import digest_of
from sluice.evaluation.response_cache import ResponseCache

ENTRIES = 200


def key(number: int) -> str:
    return digest_of({"number": number})


def value(number: int, by: int = 0) -> dict[str, Any]:
    return {"text": f"answer {number} ä\u2028", "seconds": number / 7, "by": by, "pad": "x" * (number % 2000)}


def fill(folder: str, by: int, there: Connection, *, endless: bool = False) -> None:
    """Store all entries in an order of its own; `endless`: whoever kills it never comes too late."""
    cache = ResponseCache(Path(folder))
    for step in itertools.count() if endless else range(ENTRIES):
        number = (step * 7 + by * 61) % ENTRIES
        found = cache.get(key(number))
        assert found is None or found == value(number, by=found["by"]), found
        cache.put(key(number), value(number, by=by))
        there.send(number)
    there.close()
