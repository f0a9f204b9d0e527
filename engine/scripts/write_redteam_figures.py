"""Writes the figures of engine/docs/figures/redteam.md: `.venv/bin/python engine/scripts/write_redteam_figures.py
[FOLDER]`.

FOLDER has the reports of a red team run; default: build/redteam, where `make redteam DRAFT=yes` leaves them.
"""

from __future__ import annotations

import sys
from pathlib import Path

from sluice.extras.redteam.redteam_report import summary
from sluice.extras.redteam.redteam_result import read_result

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "engine" / "benchmarks"))
from figures import which_run  # noqa: E402

PAGE = ROOT / "engine" / "docs" / "figures" / "redteam.md"
BEGIN, END = "<!-- figures: begin -->\n", "<!-- figures: end -->\n"


def main(folder: Path) -> None:
    head, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, tail = rest.partition(END)
    figures = summary(read_result(folder)).replace("## ", "### ", 1)
    PAGE.write_text(f"{head}{BEGIN}{which_run()}\n\n{figures}{END}{tail}", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "redteam")
