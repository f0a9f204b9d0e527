"""The drill: bad canaries are rehearsed until each is stopped, good ones until each is promoted.

    .venv/bin/python engine/benchmarks/canary_drill.py [--good 50] [--at-once 3] [--write]

Real services, Traefik, Locust, k8s/base/rollout.yaml and config/gates.yaml; only model and search are scripts
(engine/tests/support/rollout/drill.py). Prints what became of each; --write puts the figures into
engine/docs/figures.md. Exit status 1: a figure misses what it must be. Takes half an hour.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "engine" / "src"), str(ROOT / "engine" / "tests")]

from figures import Figure, show, table, write_block  # noqa: E402

from support.rollout.drill import BAD, GOOD, Drilled, Way, drill  # noqa: E402

TIME_SCALE = 0.1  # somewhat more than in pipelines/params.yaml, where a model of a laptop has to be waited for
INTERVALS, EXPOSED, BACK, FALSE = 2, 0.12, 10.0, 1 / 50


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--good", type=int, default=50, help="good canaries")
    parser.add_argument("--at-once", type=int, default=3, help="rehearsals side by side")
    parser.add_argument("--write", action="store_true", help="write the figures into the page")
    options = parser.parse_args()
    ways = [*BAD, *[GOOD] * options.good]
    with (
        tempfile.TemporaryDirectory() as folder,
        # Children of a rehearsal end with the thread that started them, so each has a process of its own.
        ProcessPoolExecutor(options.at_once, mp_context=multiprocessing.get_context("spawn")) as pool,
    ):
        running = [pool.submit(_one, way, Path(folder) / str(number)) for number, way in enumerate(ways)]
        found = [one.result() for one in running]
    bad, good = found[: len(BAD)], found[len(BAD) :]
    head = ("canary", "stopped by", "analyses", "exposed", "back, s", "visits", "failed outside")
    print(table(head, [_row(one) for one in bad]))
    verdicts = _figures(bad, good)
    if options.write:
        write_block("drill", table(("figure", "found", "must be"), [one[:3] for one in verdicts if one[2]]))
    return show(verdicts)


def _one(way: Way, folder: Path) -> Drilled:
    found = drill(way, folder, time_scale=TIME_SCALE)
    print(f"{way.name}: {found.stopped_by or 'promoted'} after {found.seconds:.0f} s", file=sys.stderr, flush=True)
    if found.stopped and way.family == GOOD.family:
        print(f"  {found.reason}", file=sys.stderr, flush=True)
    return found


def _row(one: Drilled) -> tuple[str, ...]:
    return (
        one.way.name,
        one.stopped_by or "**nobody**",
        str(one.intervals),
        f"{one.exposed:.0%}",
        f"{one.back:.1f}",
        str(one.requests),
        str(one.outside),
    )


def _figures(bad: list[Drilled], good: list[Drilled]) -> list[Figure]:
    stopped = sum(one.stopped for one in bad)
    intervals, exposed, back = (max(getattr(one, name) for one in bad) for name in ("intervals", "exposed", "back"))
    outside = sum(one.outside for one in (*bad, *good))
    alarms = [one for one in good if one.stopped]
    allowed = FALSE * len(good)
    visits, reached = sum(one.requests for one in bad), sum(one.exposed * one.requests for one in bad)
    return [
        ("bad canaries stopped", f"{stopped} of {len(bad)}", "all", stopped == len(bad) >= 20),
        ("analyses until then, at most", str(intervals), f"at most {INTERVALS}", intervals <= INTERVALS),
        ("visits that met a bad canary, at most", f"{exposed:.1%}", f"at most {EXPOSED:.0%}", exposed <= EXPOSED),
        ("of all visits beside bad canaries", f"{reached / visits:.1%} of {visits}", "", True),
        ("seconds until stable has all visits, at most", f"{back:.2f}", f"at most {BACK:g}", back <= BACK),
        ("failed visits that no canary answered", str(outside), "0", outside == 0),
        ("good canaries stopped", f"{len(alarms)} of {len(good)}", f"at most {allowed:g}", len(alarms) <= allowed),
    ]


if __name__ == "__main__":
    sys.exit(main())
