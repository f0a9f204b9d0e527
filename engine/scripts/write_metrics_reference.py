"""Writes the table of engine/docs/reference/metrics.md.

`.venv/bin/python engine/scripts/write_metrics_reference.py [FOLDER]`

Each metric of the engine says itself what stands in its row. A contract test compares.
"""

from __future__ import annotations

import sys
from pathlib import Path

from sluice.evaluation.registry import METRICS, Metric

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "metrics.md"
BEGIN, END = "<!-- written by engine/scripts/write_metrics_reference.py -->\n", "<!-- end -->\n"
HEAD = """| metric | kind | what | better | rows | canary |
|---|---|---|---|---|---|
"""
KINDS = {"mean": "score", "p50": "score, p50", "p95": "score, p95", "share": "assertion", "counts": "label"}


def row(metric: type[Metric] | Metric) -> str:
    canary = "yes" if metric.needs == "answer" else ""
    cells = (KINDS[metric.aggregate], metric.what, metric.direction or "", metric.rows, canary)
    return f"| `{metric.name}` | {' | '.join(cells)} |\n".replace("|  |", "| |")


def page(text: str) -> str:
    """The page with the table of today between its two marks."""
    before, _, rest = text.partition(BEGIN)
    table = HEAD + "".join(row(one) for one in METRICS.values() if one.__module__.startswith("sluice."))
    return f"{before}{BEGIN}\n{table}\n{END}{rest.partition(END)[2]}"


def main(folder: Path) -> None:
    (folder / PAGE.name).write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else PAGE.parent)
