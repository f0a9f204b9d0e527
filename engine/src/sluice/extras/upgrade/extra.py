"""What the extra `upgrade` adds, and what belongs to it."""

from __future__ import annotations

from sluice.core.extras import Extra

EXTRA = Extra(
    summary="takes later versions of the template",
    needs=("pull_requests",),
    commands="cli:register",
    hooks={"github": "doctor:checks"},
    files=(".github/workflows/upgrade-template.yml", "engine/docs/decisions/template-upgrades.md"),
    shared={"doctor": ("engine/src/sluice/extras/upgrade/doctor.py",)},
)
