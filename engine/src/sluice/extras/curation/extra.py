"""What the extra `curation` adds, and what belongs to it."""

from __future__ import annotations

from sluice.core.extras import Extra

EXTRA = Extra(
    summary="looks after the data set: its datasheet, differences of versions, rows that are proposed",
    needs=("pull_requests",),
    commands="cli:register",
)
