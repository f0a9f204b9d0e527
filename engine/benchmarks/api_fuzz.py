"""Thousands of requests made from the OpenAPI document, over a socket: no answer may be 5xx or of a status that is not
described, no connection may be lost, and the memory of the service stays.

    .venv/bin/python engine/benchmarks/api_fuzz.py [--cases 20000] [--seed N]

The service is a process of its own with stubs for model and search. Half of the requests are made from seed 0, which
always makes the same ones, half from a new seed that is printed; `--seed` gives it, to send them again. The first wrong
answer ends it with the request that led to it.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "engine" / "tests"))

from figures import Figure, show, table

from support.load.service import SteadyService
from support.serving.api_fuzz import Answers, fuzz_service

MOST_MIB = 64
WARM_UP = 500  # requests until what is made once is there


def send(service: SteadyService, cases: int, seed: int) -> Answers:
    """At least `cases` requests: more seeds, where one has too few different ones."""
    seen: Answers = Counter()
    while seen.total() < cases:
        seen += fuzz_service(service, max(cases - seen.total(), 50), start=seed)
        seed += 1
    return seen


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 32))
    options = parser.parse_args()
    print(f"engine/benchmarks/api_fuzz.py --cases {options.cases} --seed {options.seed}", flush=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, SteadyService(Path(folder), seconds=0) as service:
        fuzz_service(service, min(options.cases, WARM_UP), start=1)
        before = service.rss
        service.forget_peak()
        half = options.cases // 2
        seen = send(service, half, 0) + send(service, options.cases - half, options.seed)
        grown, most, ready = (service.rss - before) / 1024, (service.peak - before) / 1024, service.ready
    wrong = sum(number for (_, status), number in seen.items() if status >= 500)
    figures: list[Figure] = [
        (f"requests, seeds 0 and {options.seed}", str(seen.total()), f">= {options.cases}", True),
        ("answers 5xx", str(wrong), "0", wrong == 0),
        ("answers that the document does not describe, connections lost", "0", "0", True),  # else it has ended
        ("memory of the service grew by, at the end", f"{grown:.1f} MiB", f"<= {MOST_MIB} MiB", grown <= MOST_MIB),
        ("at its highest", f"{most:.1f} MiB", f"<= {MOST_MIB} MiB", most <= MOST_MIB),
        ("the service is ready at the end", str(ready), "True", ready),
        ("seconds", f"{time.monotonic() - began:.0f}", "", True),
    ]
    rows = [(operation, str(status), str(number)) for (operation, status), number in sorted(seen.items())]
    print(table(("operation", "status", "answers"), rows))
    return show(figures)


if __name__ == "__main__":
    sys.exit(main())
