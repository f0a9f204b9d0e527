"""What the extra `prompt_tests` adds, and what belongs to it."""

from __future__ import annotations

from sluice.core.extras import Extra

EXTRA = Extra(
    summary="lists prompts, shows what changed and how they are filled in, and tries them on their own cases",
    commands="cli:register",
    entries={".github/workflows/ci.yml": ("jobs > check > steps > name=Which prompts were edited",)},
    lines={
        "docs/prompts.md": ("sluice prompts test answer", "sluice prompts diff main", "sluice prompts list"),
        "docs/tutorial.md": ("sluice prompts diff main",),
    },
)
