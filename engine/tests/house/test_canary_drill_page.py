"""engine/docs/figures/canary.md: the figures are of the canaries that the drill has, and all of them were stopped."""

from __future__ import annotations

import re
from pathlib import Path

from support.rollout.drill import BAD

PAGE = (Path(__file__).parents[3] / "engine" / "docs" / "figures" / "canary.md").read_text()


def _rows(name: str) -> list[list[str]]:
    found = re.search(f"<!-- {name}: begin -->(.*?)<!-- {name}: end -->", PAGE, re.DOTALL)
    assert found, name
    lines = [line for line in found[1].splitlines() if line.startswith("|") and not line.startswith("|---")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_each_bad_canary_has_its_row_and_was_stopped() -> None:
    rows = {row[0]: row for row in _rows("drill") if len(row) == 7}
    assert list(rows)[1:] == [way.name for way in BAD], "run engine/benchmarks/canary_drill.py --write"
    assert all(row[1] and "nobody" not in row[1] for row in rows.values())


def test_no_figure_misses_what_it_must_be() -> None:
    figures = {row[0]: row[1:] for name in ("drill", "promotion") for row in _rows(name) if len(row) == 3}
    assert figures["bad canaries stopped"][0] == f"{len(BAD)} of {len(BAD)}"
    assert int(figures["analyses until then, at most"][0]) <= 2
    assert float(figures["visits that met a bad canary, at most"][0].removesuffix("%")) <= 12
    assert float(figures["seconds until stable has all visits, at most"][0]) <= 10
    stopped, good = figures["good canaries stopped"][0].split(" of ")
    assert int(good) >= 50
    assert int(stopped) <= 1
    assert figures["requests"] == ["50,000", "50,000"]
    assert figures["failed"] == ["0", "0"]
