"""What the extra `importing` adds, and what belongs to it."""

from __future__ import annotations

from sluice.core.extras import Extra

EXTRA = Extra(
    summary="imports questions (CSV, SQuAD) and documents (HTML, PDF) into the data set, and redacts it",
    commands="cli:register",
    hooks={"stray_file": "extract:fault_of_stray"},
    files=("engine/docs/decisions/document-extractors.md",),
)
