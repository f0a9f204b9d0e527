"""A release takes over under load: no request may fail.

    .venv/bin/python engine/benchmarks/promotion.py [requests, default 50000] [--write]

Two real services with a scripted model (engine/tests/support/rollout/promotion.py), the real Traefik, sixteen callers
who stream; the weight goes 0, 10, 50, 100, then the old release is drained and stopped. --write puts the table into
engine/docs/figures.md.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "engine" / "src"), str(ROOT / "engine" / "tests")]

from figures import Figure, show, table, write_block  # noqa: E402

from support.rollout.promotion import NEW, OLD, promote  # noqa: E402


def main(words: list[str]) -> int:
    requests = int(next((word for word in words if word.isdecimal()), 50_000))
    with tempfile.TemporaryDirectory() as folder:
        found = promote(requests, Path(folder))
    failed = sum(found.failed.values())
    figures: list[Figure] = [
        ("requests", f"{found.requests:,}", f"{requests:,}", found.requests >= requests),
        ("failed", str(dict(found.failed) or 0), "0", failed == 0),
        ("answered by the old release", f"{found.served[OLD]:,}", "more than 0", found.served[OLD] > 0),
        ("answered by the new release", f"{found.served[NEW]:,}", "more than 0", found.served[NEW] > 0),
        ("sent after the old one had gone", f"{found.alone:,}", "more than 0", found.alone > 0),
        ("in flight when it got its signal", str(found.in_flight), "more than 0", found.in_flight > 0),
        (
            "seconds until it had drained and ended",
            f"{found.drained_after:.1f}",
            "at most 30",
            found.drained_after <= 30,
        ),
        ("requests a second", f"{found.requests / found.took:.0f}", "", True),
        ("99th percentile of an answer, ms", f"{1000 * found.p99:.0f}", "", True),
    ]
    if "--write" in words:
        write_block("promotion", table(("figure", "found", "must be"), [one[:3] for one in figures if one[2]]))
    return show(figures)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
