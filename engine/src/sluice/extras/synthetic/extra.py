"""What the extra `synthetic` adds, and what belongs to it."""

from __future__ import annotations

from sluice.core.extras import Extra

EXTRA = Extra(
    summary="proposes rows of data that a teacher model writes about the corpus",
    needs=("curation", "prompt_tests"),
    commands="cli:register",
    files=("prompts/generate.prompt.yml",),
)
