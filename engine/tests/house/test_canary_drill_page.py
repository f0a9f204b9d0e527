"""engine/docs/figures.md: every bad canary that the drill has was stopped, and no request of a promotion failed."""

from __future__ import annotations

import re
from pathlib import Path

from support.rollout.drill import BAD

PAGE = (Path(__file__).parents[3] / "engine" / "docs" / "figures.md").read_text()


def _rows(name: str) -> list[list[str]]:
    found = re.search(f"<!-- {name}: begin -->(.*?)<!-- {name}: end -->", PAGE, re.DOTALL)
    assert found, name
    lines = [line for line in found[1].splitlines() if line.startswith("|") and not line.startswith("|---")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_no_figure_misses_what_it_must_be() -> None:
    figures = {row[0]: row[1:] for name in ("drill", "promotion") for row in _rows(name)}
    stopped = figures["bad canaries stopped"][0]
    assert stopped == f"{len(BAD)} of {len(BAD)}", "run engine/benchmarks/canary_drill.py --write"
    assert int(figures["analyses until then, at most"][0]) <= 2
    assert float(figures["visits that met a bad canary, at most"][0].removesuffix("%")) <= 12
    assert float(figures["seconds until stable has all visits, at most"][0]) <= 10
    stopped, good = figures["good canaries stopped"][0].split(" of ")
    assert int(good) >= 50
    assert int(stopped) <= 1
    assert figures["requests"] == ["50,000", "50,000"]
    assert figures["failed"] == ["0", "0"]
