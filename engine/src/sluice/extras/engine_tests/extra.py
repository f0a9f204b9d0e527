"""What belongs to the template's own work on GitHub: tests of the engine, and its versions."""

from __future__ import annotations

from sluice.core.extras import Extra

EXTRA = Extra(
    summary="tests the engine on GitHub, publishes its versions, keeps its actions up to date: the template's own work",
    needs=("upgrade",),
    commands="cli:register",
    files=(
        ".github/workflows/template-release.yml",
        ".github/workflows/template-tests.yml",
        ".github/dependabot.yml",
        "engine/tests/workflows/test_template_release.py",
    ),
    entries={
        ".github/workflows/ci.yml": (
            "jobs > test-engine",
            "jobs > plan > outputs > test-engine",
            "jobs > required > needs > =test-engine",
        ),
    },
    lines={"engine/docs/reference/workflow-tests.md": ("`test_template_release.py`",)},
)
