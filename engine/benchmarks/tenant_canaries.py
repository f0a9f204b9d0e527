"""Thousands of questions and guesses of one tenant about strings that only another may see. Any that is met is a fault.

    .venv/bin/python engine/benchmarks/tenant_canaries.py [questions] [seed]

Answers, citations, usage, headers, metrics, feedback, log and traces are searched; a right guess may not be told from a
wrong one. The store is the embedded PostgreSQL; the model repeats whatever it is shown.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "engine" / "tests"))

from support.serving.tenant_canaries import look_across_tenants


def main(argv: list[str]) -> int:
    questions, seed = int(argv[1]) if len(argv) > 1 else 5000, int(argv[2]) if len(argv) > 2 else 0
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="sc", ignore_cleanup_errors=True) as folder:
        found = look_across_tenants(Path(folder), questions, seed=seed)
    for (who, status), number in sorted(found.asked.items()):
        print(f"{who:<10} {status}  {number:>6}")
    print(f"the owner saw a canary {found.owner_saw} times; seed {seed}; {time.monotonic() - began:.0f} s")
    for leak in found.leaks[:20]:
        print(f"LEAK {leak}")
    print(f"{len(found.leaks)} leaks")
    return 1 if found.leaks else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
