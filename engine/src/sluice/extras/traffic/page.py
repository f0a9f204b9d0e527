"""drift.html: one file, readable offline. Of what users wrote it shows the words that many of them used."""

from __future__ import annotations

from pathlib import Path

from sluice.core.files import write_atomic, write_json
from sluice.core.look import page_environment
from sluice.extras.curation.shift import ShiftPolicy
from sluice.extras.traffic.drift import Drift
from sluice.release import charts

PAGE, FIGURES = "drift.html", "drift.json"
_TEMPLATES = Path(__file__).parent / "templates"


def write_page(drift: Drift, policy: ShiftPolicy, out: Path) -> Path:
    """Writes drift.html and drift.json into `out`; the page."""
    from markupsafe import Markup

    figures = drift.as_dict(policy)
    write_json(out / FIGURES, figures)
    pictures = [Markup(charts.distribution(f"shift{number}", shift.bins)) for number, shift in enumerate(drift.shifts)]
    page = (
        page_environment(_TEMPLATES)
        .get_template("drift.html.j2")
        .render(figures=figures, shifts=list(zip(figures["shifts"], pictures, strict=True)), policy=policy)
    )
    write_atomic(out / PAGE, page)
    return out / PAGE
