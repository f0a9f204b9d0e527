"""What the extra `provenance` adds, and what belongs to it."""

from __future__ import annotations

from sluice.core.extras import Extra

EXTRA = Extra(
    summary="SHA256SUMS of each release; recomputes its scores and verdicts",
    commands="cli:register",
    hooks={
        "release_written": "checksums:write_checksums",
        "verify_release": "checksums:check_checksums",
    },
    files=("engine/docs/decisions/provenance.md", "engine/docs/reference/provenance.md"),
    entries={
        ".github/workflows/release.yml": (
            "jobs > sign > steps > name=Fetch the release",
            "jobs > sign > steps > name=Where its other files come from",
        ),
    },
    lines={
        "SECURITY.md": ("| a score, a verdict or a date that was changed later |",),
        "engine/docs/README.md": ("(reference/provenance.md)",),
        "engine/docs/decisions/README.md": ("(provenance.md)",),
        "engine/docs/reference/record.md": ("is a check of the part `provenance`",),
    },
)
