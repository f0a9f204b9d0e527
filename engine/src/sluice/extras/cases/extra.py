"""What the extra `cases` adds, and what belongs to it."""

from __future__ import annotations

from sluice.core.extras import Extra

EXTRA = Extra(summary="reads files of labelled cases, for the extras that compare with them")
