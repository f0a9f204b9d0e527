"""What the extra `prompt_tests` adds, and what belongs to it."""

from __future__ import annotations

from sluice.core.extras import Extra

EXTRA = Extra(
    summary="shows prompts filled in, and tries them on their own cases",
    needs=("cases",),
    commands="cli:register",
    lines={"docs/prompts.md": ("sluice prompts test answer",)},
)
