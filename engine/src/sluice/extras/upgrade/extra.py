"""What the extra `upgrade` adds, and what belongs to it."""

from __future__ import annotations

from sluice.core.extras import Extra

EXTRA = Extra(
    summary="takes later versions of the template, and the engine in git or from a wheel",
    needs=("pull_requests",),
    commands="cli:register",
    hooks={"checkout": "held_engine:bring", "github": "doctor:checks", "hold_engine": "held_engine:prepare"},
    files=(
        ".github/workflows/upgrade-template.yml",
        "engine/docs/decisions/template-upgrades.md",
        "engine/docs/reference/installed-engine.md",
    ),
    shared={"doctor": ("engine/src/sluice/extras/upgrade/doctor.py",)},
)
