"""What the extra `admin` adds, and what belongs to it."""

from __future__ import annotations

from sluice.core.extras import Extra

EXTRA = Extra(
    summary="looks after vector stores, caches, the artifact store, what a cluster keeps: lists, checks, prunes, drops",
    commands="cli:register",
    hooks={"promoted": "retention:tidy_cluster"},
    lines={
        "engine/docs/reference/failures.md": ("unit/extras/admin/test_killed.py",),
        "engine/docs/reference/record.md": (
            "## Retention",
            "`sluice release prune --keep 10`",
            "The catalogue says `removed` first",
            "the package the repository as its admin",
        ),
        "engine/docs/reference/workflows.md": ("`prune` removes releases",),
    },
    entries={
        ".github/workflows/nightly.yml": ("jobs > prune", "jobs > report > needs > =prune"),
        "config/gates.yaml": ("gates > stage=index",),
    },
)
