"""What the extra `traces` adds, and what belongs to it."""

from __future__ import annotations

from sluice.core.extras import Extra

EXTRA = Extra(
    summary="loads the traces that the service keeps on disk into MLflow",
    commands="cli:register",
    lines={
        "docs/operate.md": ("`sluice traces push` loads",),
        "engine/docs/reference/failures.md": ("an error of `sluice traces push`",),
        "engine/docs/reference/telemetry.md": ("`sluice traces push` loads",),
    },
)
