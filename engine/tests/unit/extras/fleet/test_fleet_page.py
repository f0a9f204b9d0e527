"""The page of a fleet in a real browser, and what axe-core finds in it, with fifty and with five hundred projects."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sluice.extras.fleet import status_reports
from sluice.extras.fleet.fleet_status import FleetStatus
from sluice.extras.fleet.loosened_gates import LoosenedGate
from sluice.extras.fleet.project_status import LiveRelease, OpenIssue, ProjectStatus, ServedNamespace
from unit.serving.browser import Browser, find_browser

pytestmark = pytest.mark.real
NAMES = (
    "search",
    "support",
    "billing",
    "onboarding",
    "claims",
    "contracts",
    "travel",
    "payroll",
    "catalogue",
    "research",
)
EDIT = "engine/src/sluice/evaluation/metrics/digits.py: changed; write a metric in src/assistant/metrics/ with @metric"


@pytest.fixture
def browser() -> Iterator[Browser]:
    program = find_browser()
    if program is None:
        pytest.skip("no Chromium on this machine")
    with Browser(program) as running:
        yield running


def project(number: int) -> ProjectStatus:
    """Most are as they should be; every tenth breaks a rule, every twenty-fifth cannot be read."""
    team, ring = NAMES[number % len(NAMES)], "first" if number < 5 else "early" if number < 20 else "rest"
    about = {"repository": f"example/{team}-{number}", "ring": ring, "owners": (f"@example/{team}",)}
    if number % 25 == 7:
        return ProjectStatus.model_validate({**about, "fault": "not there, or the token may not read it"})
    old = number % 6 == 1
    found = {
        **about,
        "project": f"{team}-{number}",
        "version": "0.1.0" if number % 10 == 4 else "0.2.0" if old else "0.3.0",
        "behind": 2 if number % 10 == 4 else int(old),
        "live": tuple(
            LiveRelease(environment=name, release=f"r-{number:012x}", since="2026-11-20T09:00:00+00:00")
            for name in ("staging", "production")
        ),
        "verdict": f"promoted r-{number:012x}",
        "verdict_time": f"2026-11-{1 + number % 27:02}T09:00:00+00:00",
        "drift": number % 9 == 2,
        "served": tuple(
            ServedNamespace(
                namespace=f"{team}-{number}-{name}",
                questions=9e3,
                budget=0.9 - number % 8 / 6,
                dollars=number % 13 * 7.5,
            )
            for name in ("staging", "production")
        ),
    }
    if number % 10 == 4:
        gate = LoosenedGate(name="recall_at_5_floor", change="limit 0.8 -> 0.6")
        found |= {
            "edited": (EDIT,),
            "loosened": (gate,),
            "broken": (EDIT, "engine 0.1.0: older than 0.2.0", f"gate {gate}"),
        }
    if found["drift"]:
        issue = f"https://github.com/example/{team}-{number}/issues/7"
        found["issues"] = (OpenIssue(marker="nightly", url=issue),)
    return ProjectStatus.model_validate(found)


def written(tmp_path: Path, count: int, telemetry: str | None) -> str:
    projects = tuple(map(project, range(count)))
    versions = ("0.1.0", "0.2.0", "0.3.0")
    status = FleetStatus("2026-11-28T10:00:00+00:00", "example/sluice", versions, projects, telemetry)
    (tmp_path / "fleet.html").write_text(status_reports.page(status))
    return (tmp_path / "fleet.html").as_uri()


@pytest.mark.parametrize(
    ("count", "width", "dark", "telemetry"),
    [
        (50, 1280, False, ""),
        (50, 1280, True, "no answer from Prometheus (ConnectionRefusedError)"),
        (50, 390, False, ""),
        (500, 1280, False, ""),
        (500, 1280, True, None),
    ],
)
def test_axe_finds_nothing_and_the_page_fits(
    browser: Browser, tmp_path: Path, count: int, width: int, dark: bool, telemetry: str | None
) -> None:
    browser.look(width=width, height=900, dark=dark)
    browser.open(written(tmp_path, count, telemetry))
    if shots := os.environ.get("SLUICE_SHOTS"):  # a folder for pictures, such as that of engine/docs/reference/fleet.md
        browser.shoot(Path(shots) / f"fleet-{count}-{width}{'-dark' if dark else ''}.png")
    assert browser.accessibility_faults() == []
    assert browser.js("document.scrollingElement.scrollWidth") <= width
    assert browser.js("document.querySelectorAll('table')[1].tBodies[0].rows.length") == count
    assert browser.problems == [], "nothing that the page's own policy forbids"
    assert [url for url in browser.asked if not url.startswith("file:")] == []
    first = browser.js("document.querySelectorAll('table')[1].tBodies[0].rows[0].innerText")
    assert "rule broken: engine 0.1.0: older than 0.2.0" in first, "what is wrong is open, and first"
