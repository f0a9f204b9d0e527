"""What the extra `datakit` adds, and what belongs to it."""

from __future__ import annotations

from sluice.core.extras import Extra

EXTRA = Extra(
    summary="brings rows in: imports, traffic, a teacher model; redacts, compares and describes the data set",
    needs=("prompt_tests", "pull_requests", "traces"),
    commands="cli:register",
    hooks={"stray_file": "documents:fault_of_stray"},
    files=(
        "engine/docs/decisions/document-extractors.md",
        "engine/docs/reference/datakit.md",
        "prompts/generate.prompt.yml",
    ),
    entries={
        "config/gates.yaml": ("drift",),
        ".github/workflows/nightly.yml": (
            "jobs > evaluate > steps > name=Keep what traffic is compared with",
            "jobs > drift",
            "jobs > report > needs > =drift",
        ),
    },
)
