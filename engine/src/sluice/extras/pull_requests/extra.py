"""What the extra `pull_requests` adds, and what belongs to it."""

from __future__ import annotations

from sluice.core.extras import Extra

EXTRA = Extra(summary="opens and updates the pull requests of parts that propose changes: rows of data, upgrades")
