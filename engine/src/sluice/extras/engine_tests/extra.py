"""What belongs to the engine's own tests on GitHub."""

from __future__ import annotations

from sluice.core.extras import Extra

EXTRA = Extra(
    summary="tests the engine on GitHub, and keeps its actions up to date: the template's own work",
    files=(".github/workflows/template-tests.yml", ".github/dependabot.yml"),
    entries={
        ".github/workflows/ci.yml": (
            "jobs > test-engine",
            "jobs > plan > outputs > test-engine",
            "jobs > required > needs > =test-engine",
        ),
    },
)
