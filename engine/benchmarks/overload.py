"""What becomes of a service that is offered five times what it can answer.

    .venv/bin/python engine/benchmarks/overload.py [seconds]

Starts the whole service around a stub of a model (8 places, 200 ms an answer), finds its capacity, then offers five
times that for a minute, open-loop, from this process; a quarter of the requests come on connections of their own.
Prints a table in Markdown with ratios from this one run. Ends with 1 when a limit is not kept.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "engine" / "tests"))

from figures import show

from support.load.overload import measure


def main(argv: list[str]) -> int:
    seconds = float(argv[1]) if len(argv) > 1 else 60.0
    found = measure(seconds)
    rows = [
        ("offered / capacity", f"{found.offered / found.capacity:.2f}", "5", found.offered >= 4.5 * found.capacity),
        ("goodput / capacity", f"{found.share:.3f}", ">= 0.95", found.share >= 0.95),
        ("refused, p50 ms", f"{found.shed_p50:.1f}", "", True),
        ("refused, p99 ms", f"{found.shed_p99:.1f}", "<= 50", found.shed_p99 <= 50),
        ("refused without Retry-After", f"{found.shed_without_retry_after}", "0", not found.shed_without_retry_after),
        ("neither answered nor refused", f"{found.other or 0}", "0", not found.other),
        ("probes of /readyz that failed", f"{found.probes_failed} of {found.probes}", "0", not found.probes_failed),
        ("answered, p50 ms", f"{found.admitted_p50:.0f}", "", True),
        ("growth of memory", f"{found.growth:.2%}", "<= 10 %", found.growth <= 0.1),
        ("seconds until normal", f"{found.normal_after:.2f}", "<= 5", found.normal_after <= 5),
    ]
    print(f"capacity {found.capacity:.0f} answers a second; {found.shed} requests refused in {seconds:g} s;")
    print(f"the service used {found.cpu:.2f} cores; the load was late by {found.lateness_p99:.1f} ms (p99)")
    return show(rows)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
