"""Sentences of a text, by their marks."""

from __future__ import annotations

import re

# A sentence ends where white space follows its mark, and at the end of a line; CJK marks need no white space.
_SENTENCE_END = re.compile(r"(?<=[.!?…])[\"'”’)\]]*\s+|(?<=[。！？])|\n+")
_ABBREVIATION = re.compile(r"(?:^|\s)(?:e\.g|i\.e|cf|vs|approx|no|fig|dr|mr|mrs|st)\.$", re.IGNORECASE)


def sentences(text: str) -> list[str]:
    """The sentences of a text, without white space around them; a full stop after an abbreviation ends none."""
    found: list[str] = []
    start = 0
    for end in _SENTENCE_END.finditer(text):
        if "\n" not in end[0] and _ABBREVIATION.search(text[start : end.start()]):
            continue
        found.append(text[start : end.end()])
        start = end.end()
    found.append(text[start:])
    return [stripped for sentence in found if (stripped := sentence.strip())]
