"""What the extra `fleet` adds, and what belongs to it."""

from __future__ import annotations

from sluice.core.extras import Extra

EXTRA = Extra(
    summary="many projects from one template, for a platform team: status, upgrades in rings, new projects",
    needs=("doctor", "pull_requests", "upgrade"),
    commands="cli:register",
    hooks={"schemas": "fleet_file:schemas"},
    lines={"engine/docs/reference/monitoring.md": ("fleet.md#monitoring",)},
    files=(
        "engine/benchmarks/fleet_seconds.py",
        "engine/docs/images/fleet.png",
        "engine/docs/reference/fleet.md",
        "engine/schemas/fleet.schema.json",
    ),
)
