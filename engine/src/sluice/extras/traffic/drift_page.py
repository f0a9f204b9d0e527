"""drift.html: one offline page. It shows no text of a user."""

from __future__ import annotations

from pathlib import Path

from sluice.core.atomic_files import write_atomic, write_json
from sluice.core.html_theme import page_environment
from sluice.extras.traffic.drift import DriftPolicy, DriftReport

PAGE, FIGURES = "drift.html", "drift.json"
_TEMPLATES = Path(__file__).parent / "templates"


def write_page(drift: DriftReport, policy: DriftPolicy, out: Path) -> Path:
    """Writes drift.html and drift.json into `out`; the page."""
    figures = drift.as_dict(policy)
    write_json(out / FIGURES, figures)
    page = page_environment(_TEMPLATES).get_template("drift.html.j2").render(figures=figures, policy=policy)
    write_atomic(out / PAGE, page)
    return out / PAGE
