"""The shape of a check. A check is one file with two names, `Options` and `find`, and one line in registry.py.

`find` is a function without I/O. What is done about its findings (block, redact, annotate, ...) is decided in
config/guardrails.yaml, not by the check. Most checks look for a pattern: their `find(text, options)` gets one reading
of the text at a time, and `on_every_layer` maps what it finds back to the text as it was sent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from sluice.core.settings import Settings
from sluice.guardrails.seen import Kit, Seen

Action = Literal["block", "redact", "annotate", "drop", "reask"]


@dataclass(frozen=True)
class Finding:
    """A fault at text[start:end]. `reason` is a code, `<check>.<kind>`; it holds no text and is safe to log."""

    reason: str
    start: int
    end: int


Find = Callable[[Seen], list[Finding]]


@dataclass(frozen=True)
class Check:
    """One registry entry. `make(options, kit)` is called once for each place the check is listed at, and may refuse a
    kit that lacks what it needs. `actions` are those that make sense: a text that is too long cannot be redacted.
    `whole`: it judges whole answers, not sentences. `model`, `embedder`: what of the kit it cannot do without."""

    options: type[Settings]
    make: Callable[[Any, Kit], Find]
    actions: tuple[Action, ...]
    whole: bool = False
    model: bool = False
    embedder: bool = False


def on_every_layer(find: Callable[[str, Any], list[Finding]]) -> Callable[[Any, Kit], Find]:
    """A pattern search as a check: every reading of the text is searched, and each finding told once."""

    def make(options: Any, kit: Kit) -> Find:  # noqa: ARG001 - every check is made of both
        def search(seen: Seen) -> list[Finding]:
            found = {
                Finding(each.reason, *layer.original(each.start, each.end)): None
                for layer in seen.layers
                for each in find(layer.text, options)
            }
            return list(found)

        return search

    return make
