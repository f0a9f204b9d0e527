"""Thousands of requests made from the OpenAPI document: no answer may be 5xx or of a status that is not described.

    .venv/bin/python engine/benchmarks/api_fuzz.py [cases] [seed]

The service runs in this process with a stub for the answers. Prints how many answers had which status; the first wrong
one ends it with the request that led to it.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "engine" / "tests"))

from support.serving.api_fuzz import fuzz


def main(argv: list[str]) -> int:
    cases, seed = int(argv[1]) if len(argv) > 1 else 20_000, int(argv[2]) if len(argv) > 2 else 0
    began = time.monotonic()
    seen = fuzz(cases, start=seed)
    while seen.total() < cases:  # a path that takes nothing has few different requests
        seed += 1
        seen += fuzz(max(cases - seen.total(), 50), start=seed)
    for (operation, status), number in sorted(seen.items()):
        print(f"{operation:<28} {status}  {number:>6}")
    wrong = sum(number for (_, status), number in seen.items() if status >= 500)
    print(f"{seen.total()} requests in {time.monotonic() - began:.0f} s; {wrong} with a status 5xx, 0 undescribed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
