"""Encoding abuse: text that uses encoding to evade the checks.

Honest questions do not use invisible letters, text reversed for display, or nested encodings. Text that exceeds the
limits of the normalization is refused too, because the checks have not read all of it.
"""

from __future__ import annotations

import re
import unicodedata

from pydantic import Field

from sluice.core.settings import Settings
from sluice.guardrails.check import WHOLE, Check, Finding, check
from sluice.guardrails.context import CheckContext
from sluice.guardrails.text_normalization import MOST_CHARACTERS
from sluice.guardrails.text_normalization.letters import TAGS, is_invisible

# The flag of a region is a black flag and a few tag letters; tags anywhere else are text for the model alone.
_FLAG = re.compile("\U0001f3f4[\U000e0030-\U000e007e]{1,6}\U000e007f")
_OVERRIDES = frozenset("\u202d\u202e")
_JOINERS = frozenset("\u200c\u200d\ufe0e\ufe0f")  # of emoji, and of scripts that need them
_ENCODINGS = frozenset(("base64", "base32", "hex", "binary", "rot13", "atbash"))


class EncodingOptions(Settings):
    max_invisible: int = Field(3, ge=0, description="invisible characters beside joiners of emoji and scripts")
    max_nesting: int = Field(1, ge=0, description="encodings inside each other")
    max_marks: int = Field(8, ge=0, description="combining marks in a row")


@check
class EncodingCheck(Check):
    name = "encoding"
    options_model = EncodingOptions
    actions = WHOLE

    def find(self, context: CheckContext) -> list[Finding]:
        """At most one finding of each kind, over the whole text."""
        text = context.text
        kinds = set() if text.isascii() else _letters(text[:MOST_CHARACTERS], self.options)
        if not context.normalized.complete:
            kinds.add("unreadable")
        deepest = max((sum(step in _ENCODINGS for step in reading.steps) for reading in context.readings), default=0)
        if deepest > self.options.max_nesting:
            kinds.add("nested")
        return [Finding(f"encoding.{kind}", 0, len(text)) for kind in sorted(kinds)]


def _letters(text: str, options: EncodingOptions) -> set[str]:
    kinds = set()
    text = _FLAG.sub("", text)
    if sum(is_invisible(letter) and letter not in _JOINERS for letter in text) > options.max_invisible:
        kinds.add("invisible")
    if any(ord(letter) in TAGS for letter in text):
        kinds.add("tags")
    if not _OVERRIDES.isdisjoint(text):
        kinds.add("direction")
    row = 0
    for letter in text:
        row = row + 1 if unicodedata.combining(letter) else 0
        if row > options.max_marks:
            kinds.add("marks")
            break
    return kinds
