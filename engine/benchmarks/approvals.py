"""Fuzzes the approvals of tools: whatever a model calls and people decide, nothing is written that nobody approved.

    .venv/bin/python engine/benchmarks/approvals.py --runs 10000 --seed 1

Each run is a question to the application of the starter with a model that calls what a random generator says: reads and
writes, alone and together, with arguments that fit and that do not, the same call twice, an idempotency key of its own,
names of no tool; and people who approve, deny, come twice, come at once, come too late, come from another tenant, never
come, or go on without a decision. What is held against it is the world itself: each row that was written has the key of
a call that somebody approved, with the arguments that stand in the approval.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(_ROOT / "src"), str(_ROOT / "engine" / "tests")]

from support.tool_fuzz import fuzz, write_config  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        tally = asyncio.run(fuzz(asked.runs, asked.seed, write_config(Path(folder))))
    print(f"{asked.runs} runs in {time.perf_counter() - began:.0f} s, seed {asked.seed}")
    for event, times in sorted(tally.events.items()):
        print(f"{times:>8}  {event}")
    print(f"{len(tally.unapproved):>8}  WRITTEN WITHOUT AN APPROVAL")
    if tally.unapproved:
        raise SystemExit("\n".join(tally.unapproved))


if __name__ == "__main__":
    main()
