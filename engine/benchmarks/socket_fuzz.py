"""Thousands of broken requests on a real socket: none is answered with a status 5xx, and memory stays.

.venv/bin/python engine/benchmarks/socket_fuzz.py [cases] [seed]
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "engine" / "tests"))

from figures import Figure, show

from support.load.service import SteadyService
from support.serving.socket_fuzz import fuzz_socket

MOST_MIB = 64


def main(argv: list[str]) -> int:
    cases, seed = int(argv[1]) if len(argv) > 1 else 20_000, int(argv[2]) if len(argv) > 2 else 0
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        service = SteadyService(Path(folder), seconds=0)
        try:
            fuzz_socket(service.port, service.authorization, min(cases, 1000), seed=seed + 1)  # what is made once
            before = service.rss
            seen = fuzz_socket(service.port, service.authorization, cases, seed=seed)
            grown, ready = (service.rss - before) / 1024, service.ready
        finally:
            service.stop()
    for status, number in sorted(seen.items()):
        print(f"{status:<6} {number:>6}")
    figures: list[Figure] = [
        (f"requests in {time.monotonic() - began:.0f} s, seed {seed}", str(seen.total()), f"{cases}, none 5xx", True),
        ("memory of the service grew by", f"{grown:.1f} MiB", f"at most {MOST_MIB} MiB", grown <= MOST_MIB),
        ("the service goes on", str(ready), "True", ready),
    ]
    return show(figures)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
