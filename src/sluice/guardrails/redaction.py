"""What is taken out of a text before it is kept: personal data and secrets, whatever config/guardrails.yaml says."""

from __future__ import annotations

from sluice.guardrails.guards import redacted
from sluice.guardrails.registry import CHECKS

_CHECKS = tuple((CHECKS[name].find, CHECKS[name].options()) for name in ("personal_data", "secrets"))


def redact(text: str) -> str:
    """The text with `[redacted: <kind>]` in the place of each finding."""
    return redacted(text, [(f.start, f.end, f.reason) for find, options in _CHECKS for f in find(text, options)])
