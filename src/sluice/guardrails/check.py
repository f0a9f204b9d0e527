"""The shape of a check. A check is one file with two names, `Options` and `find`, and one line in registry.py.

`find(text, options)` is a pure function: no I/O, no model, no guardrails-ai. What is done about its findings (block or
redact) is decided in config/guardrails.yaml, not by the check.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from sluice.core.settings import Settings

Action = Literal["block", "redact"]


@dataclass(frozen=True)
class Finding:
    """A fault at text[start:end]. `reason` is a code, `<check>.<kind>`; it holds no text and is safe to log."""

    reason: str
    start: int
    end: int


@dataclass(frozen=True)
class Check:
    """One registry entry. `actions` are those that make sense: a text that is too long cannot be redacted."""

    options: type[Settings]
    find: Callable[[str, Any], list[Finding]]
    actions: tuple[Action, ...]
