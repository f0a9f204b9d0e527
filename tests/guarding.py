"""What a check of the guardrails finds in a text, with everything between: unfolding, its options, its place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sluice.guardrails.check import Finding
from sluice.guardrails.registry import CHECKS
from sluice.guardrails.seen import Kit, Seen


def finder(check: str, kit: Kit | None = None) -> Callable[..., list[Finding]]:
    """`find(text, options)` of a check by its name, as a stage runs it."""
    chosen = kit or Kit()

    def find(text: str, options: Any = None) -> list[Finding]:
        entry = CHECKS[check]
        return entry.make(options or entry.options(), chosen)(Seen(text, chosen))

    return find
