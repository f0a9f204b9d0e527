"""What the extra `doctor` adds, and what belongs to it."""

from __future__ import annotations

from sluice.core.extras import Extra

EXTRA = Extra(
    summary="says what is missing on this machine, on GitHub, in AWS, in the cluster",
    commands="cli:register",
)
