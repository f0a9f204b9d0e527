"""What callers of the whole service notice of providers that fail: the deadline, the fallback, the breaker.

    .venv/bin/python engine/benchmarks/failing_providers.py      # a minute

The application runs in this process over two scripted servers, with the breaker of config/providers.yaml. Times are
those of its own event loop. Prints a table in Markdown. Ends with 1 when a limit is not kept.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "engine" / "tests"))

from figures import Figure, show

from support.providers.failures import RETRIES, fall_over, overshoots

CALLERS = 16
DEADLINE = 1.0
FAULTS = {"500": "status:500", "a reset": "reset", "slow": "late:30"}
HANGING = [("hang", "hang"), ("status:500", "hang_in_stream"), ("reset", "hang")]


def main() -> int:
    logging.disable(logging.CRITICAL)  # every failure is one line of it
    figures: list[Figure] = []
    for first, second in HANGING:
        for stream in (False, True):
            late = 1000 * max(overshoots(first, second, deadline=DEADLINE, callers=CALLERS, stream=stream))
            name = f"{first}, then {second}, {'stream' if stream else 'plain'}: ms after the deadline, the last"
            figures.append((name, f"{late:.0f}", "<= 250", late <= 250))
    for name, fault in FAULTS.items():
        found = fall_over(fault, requests=400, callers=CALLERS)
        figures += [
            (f"first provider {name}: answered", f"{found.share:.2%}", ">= 99.5 %", found.share >= 0.995),
            (f"first provider {name}: failures until left alone", f"{found.failures}", "<= 20", found.failures <= 20),
            (f"first provider {name}: back after s", f"{found.closed_after:.1f}", "<= 10", found.closed_after <= 10),
        ]
    print(f"{CALLERS} requests at a time, {RETRIES} retries for each provider, a deadline of {DEADLINE:g} s")
    return show(figures)


if __name__ == "__main__":
    sys.exit(main())
