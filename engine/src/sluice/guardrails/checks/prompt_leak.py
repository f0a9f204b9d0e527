"""The application's own instructions in an answer: a run of their words, plain or encoded."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pydantic import Field

from sluice.core.settings import Settings
from sluice.guardrails.check import Finding, PatternCheck, check
from sluice.guardrails.context import CheckResources
from sluice.guardrails.text_normalization.spellings import ciphered

_WORD = re.compile(r"\w+")
# The value of a variable is not an instruction: a declining answer may repeat it.
_BREAK = re.compile(r"\{\{.*?\}\}|(?<=[.!?:;])\s+|\n+")
_FEWEST = 4  # words of a sentence that is looked for as a whole


class PromptLeakOptions(Settings):
    words: int = Field(6, ge=_FEWEST, description="words in a row that are a leak; a shorter sentence counts whole")


@check
class PromptLeakCheck(PatternCheck):
    name = "prompt_leak"
    options_model = PromptLeakOptions

    def __init__(self, options: PromptLeakOptions, resources: CheckResources) -> None:
        super().__init__(options, resources)
        self._known = {
            run
            for instructions in resources.instructions
            for writing in (instructions, *ciphered(instructions))
            for run in _runs(writing, options.words)
        }
        self._lengths = sorted({len(run) for run in self._known})
        self._beginnings = {run[0] for run in self._known}

    def find_in(self, text: str) -> list[Finding]:
        words = [word.lower() for word in _WORD.findall(text)]
        found = [
            (first, first + length - 1)
            for length in self._lengths
            for first in range(len(words) - length + 1)
            if words[first] in self._beginnings and tuple(words[first : first + length]) in self._known
        ]
        spans = [match.span() for match in _WORD.finditer(text)] if found else []
        return [Finding("prompt_leak.instructions", spans[first][0], spans[last][1]) for first, last in found]


def _runs(instructions: str, length: int) -> Iterator[tuple[str, ...]]:
    """Every run of `length` words of a sentence, and each shorter sentence."""
    for sentence in _BREAK.split(instructions):
        words = [word.lower() for word in _WORD.findall(sentence)]
        if _FEWEST <= len(words) < length:
            yield tuple(words)
        for first in range(len(words) - length + 1):
            yield tuple(words[first : first + length])
