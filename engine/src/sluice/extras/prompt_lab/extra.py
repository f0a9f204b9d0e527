"""What the extra `prompt_lab` adds, and what belongs to it."""

from __future__ import annotations

from sluice.core.extras import Extra

EXTRA = Extra(
    summary="`make try`: an editor of the prompt beside the chat, with a verdict on each edit",
    commands="cli:register",
)
