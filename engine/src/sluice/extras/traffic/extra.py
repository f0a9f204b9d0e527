"""What the extra `traffic` adds, and what belongs to it."""

from __future__ import annotations

from sluice.core.extras import Extra

EXTRA = Extra(
    summary="compares recorded traffic with the evaluation set, and proposes rows from it",
    needs=("curation", "traces"),
    commands="cli:register",
    entries={
        "config/gates.yaml": ("drift",),
        ".github/workflows/nightly.yml": (
            "jobs > evaluate > steps > name=Keep what traffic is compared with",
            "jobs > drift",
            "jobs > report > needs > =drift",
        ),
    },
)
