"""What the extra `redteam` adds, and what belongs to it."""

from __future__ import annotations

from sluice.core.extras import Extra

EXTRA = Extra(
    summary="attacks a release, and says which attacks succeed",
    commands="cli:register",
    parameters={"redteam": "drill:RedTeamParameters"},
    files=(
        "engine/docs/decisions/garak.md",
        "engine/docs/reference/redteam.md",
        "engine/tests/support/redteam",
    ),
    entries={
        ".github/workflows/nightly.yml": ("jobs > red-team", "jobs > report > needs > =red-team"),
        "config/gates.yaml": ("gates > stage=redteam",),
        "pipelines/params.yaml": ("redteam",),
    },
    lines={
        "engine/docs/reference/pipeline.md": ("| `redteam` |", "`released_workers`, `released_each`", "`garak.*`"),
        "config/gates.yaml": ("-- redteam: attacks on a service", "(`sluice redteam`). A figure is that of the family"),
    },
)
