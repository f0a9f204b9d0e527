"""Whether rows are held out: by the runs of six words that they share with training rows, not by a family's name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from sluice.data.near_duplicates import words
from sluice.extras.guard.guard_rows import GuardRow

SIZE = 6
MOST_SHARED = 0.5
"""Share of a row's runs, or of a family's rows, above which it is not held out."""


def overlaps(training: Sequence[GuardRow], rows: Sequence[GuardRow]) -> list[float]:
    """The share of each row's runs that some training row has too. A shorter text is one run."""
    known = {run for row in training for run in _runs(row.text)}
    found = [[run in known for run in _runs(row.text)] for row in rows]
    return [sum(shared) / len(shared) if shared else 0.0 for shared in found]


def overlap_report(rows: Sequence[GuardRow], shared: Sequence[float]) -> dict[str, Any]:
    """By label and kind: how many rows share more than `MOST_SHARED` of their runs, and the mean share."""
    kinds: dict[str, list[float]] = defaultdict(list)
    for row, share in zip(rows, shared, strict=True):
        kinds[f"{row.label}/{row.kind}"].append(share)
    return {
        "words": SIZE,
        "rows": len(rows),
        "not_held_out": sum(share > MOST_SHARED for share in shared),
        "kinds": {
            name: {
                "rows": len(found),
                "not_held_out": sum(share > MOST_SHARED for share in found),
                "shared": round(sum(found) / len(found), 4),
            }
            for name, found in sorted(kinds.items())
        },
    }


def _runs(text: str) -> Iterator[tuple[str, ...]]:
    found = words(text)
    for start in range(max(1, len(found) - SIZE + 1) if found else 0):
        yield tuple(found[start : start + SIZE])
