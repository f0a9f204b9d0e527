"""drift.html: one offline page. Of users' texts it shows only words that many of them used."""

from __future__ import annotations

from pathlib import Path

from sluice.core.atomic_files import write_atomic, write_json
from sluice.core.html_theme import page_environment
from sluice.extras.curation.distribution_shift import ShiftPolicy
from sluice.extras.traffic.drift import DriftReport

PAGE, FIGURES = "drift.html", "drift.json"
_TEMPLATES = Path(__file__).parent / "templates"


def write_page(drift: DriftReport, policy: ShiftPolicy, out: Path) -> Path:
    """Writes drift.html and drift.json into `out`; the page."""
    figures = drift.as_dict(policy)
    write_json(out / FIGURES, figures)
    bins = [[(label, 100 * ours, 100 * theirs) for label, ours, theirs in shift.bins] for shift in drift.shifts]
    page = (
        page_environment(_TEMPLATES)
        .get_template("drift.html.j2")
        .render(figures=figures, shifts=list(zip(figures["shifts"], bins, strict=True)), policy=policy)
    )
    write_atomic(out / PAGE, page)
    return out / PAGE
