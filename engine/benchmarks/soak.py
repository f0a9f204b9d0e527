"""Whether a service that runs for long leaks: mixed traffic, and its memory and open files beside it.

    .venv/bin/python engine/benchmarks/soak.py [minutes] [pause]

Starts the whole service around stubs, warms it up for two minutes (a fifth of a shorter run), then sends about 150
requests a second for thirty minutes: plain and streamed answers, refused and declined questions, feedback, callers who
go away, and everything that is a 4xx. `pause` (0.03 s) is how long each of the six callers waits between two requests.
Prints a table in Markdown. Ends with 1 when a limit is not kept.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "engine" / "tests"))

from figures import show

from support.load.soak import CALLERS, PAUSE, soak


def main(argv: list[str]) -> int:
    minutes = float(argv[1]) if len(argv) > 1 else 30.0
    pause = float(argv[2]) if len(argv) > 2 else PAUSE
    found = soak(minutes * 60, warm=min(120.0, minutes * 12), every=max(1.0, minutes / 6), pause=pause)
    for kind, many in sorted(found.done.items()):
        print(f"{kind:<24} {many:>8}")
    wrong = found.wrong.total()
    most, allowed = found.most_descriptors, found.idle_before + 3 * CALLERS
    rows = [
        ("requests", f"{found.done.total()}", "", True),
        ("answers of another status than expected", f"{dict(found.wrong) or 0}", "0", not wrong),
        ("open files at rest, before", f"{found.idle_before}", "", True),
        ("open files at rest, after", f"{found.idle_after}", "the same", found.idle_after <= found.idle_before + 1),
        ("open files under load, at most", f"{most}", f"<= {allowed}", most <= allowed),
        ("memory, MiB", f"{found.samples[-1].rss / 1024:.0f}", "", True),
        ("slope of memory in ten minutes", f"{found.slope:+.3%}", "< 1 %", found.slope < 0.01),
    ]
    return show(rows)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
