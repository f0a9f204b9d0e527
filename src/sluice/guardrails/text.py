"""Seeing through typographic disguise: the plain form of a text, with the way back to the original.

Checks search the plain form; redaction needs the place in the original, so each plain character remembers its origin.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

# The invisible "tag" letters mirror ASCII. Models read them, people do not see them: decode, do not drop.
_TAGS = range(0xE0020, 0xE007F)
# Invisible, yet not in category Cf: the grapheme joiner, Hangul fillers, variation selectors.
_INVISIBLE = {0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFFA0, *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)}


@dataclass(frozen=True)
class Plain:
    """`text` is the plain form; `origins[i]` is the index in the original of the character behind text[i]."""

    text: str
    origins: Sequence[int]

    def original(self, start: int, end: int) -> tuple[int, int]:
        """The span of the original that lies behind text[start:end] (start < end)."""
        return self.origins[start], self.origins[end - 1] + 1


def plain(text: str) -> Plain:
    """Character by character: invisible characters dropped, tag letters decoded, the rest in Unicode form NFKC."""
    if text.isascii():
        return Plain(text, range(len(text)))
    letters: list[str] = []
    origins: list[int] = []
    for place, letter in enumerate(text):
        for found in _plain_letter(letter):
            letters.append(found)
            origins.append(place)
    return Plain("".join(letters), tuple(origins))


def _plain_letter(letter: str) -> str:
    code = ord(letter)
    if code in _TAGS:
        return chr(code - 0xE0000)
    if code in _INVISIBLE or unicodedata.category(letter) == "Cf":
        return ""
    return unicodedata.normalize("NFKC", letter)
