"""What the extra `status` adds, and what belongs to it."""

from __future__ import annotations

from sluice.core.extras import Extra

EXTRA = Extra(
    summary="says what is live, how it does, what was decided last, and what is left of the error budget",
    commands="cli:register",
    files=("engine/docs/reference/status.md",),
    lines={
        "engine/docs/README.md": ("(reference/status.md)",),
        "engine/docs/reference/monitoring.md": ("(status.md)",),
    },
)
