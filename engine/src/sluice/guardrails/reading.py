"""Readings of a text, whose characters map to the original; plain letters for disguised ones; a prefilter."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cache, lru_cache

Rewrite = tuple[int, int, str]


@dataclass(frozen=True)
class Reading:
    """`text[i]` stands for the original's characters from `starts[i]` to `ends[i]`; `steps` were undone, in order."""

    text: str
    starts: Sequence[int]
    ends: Sequence[int]
    steps: tuple[str, ...] = ()

    def original(self, start: int, end: int) -> tuple[int, int]:
        """Return the span of the original that lies behind text[start:end] (start < end)."""
        return min(self.starts[start:end]), max(self.ends[start:end])

    def mapped(self, letter: Callable[[str], str], step: str) -> Reading:
        letters: list[str] = []
        starts: list[int] = []
        ends: list[int] = []
        for place, old in enumerate(self.text):
            for new in letter(old):
                letters.append(new)
                starts.append(self.starts[place])
                ends.append(self.ends[place])
        return Reading("".join(letters), starts, ends, (*self.steps, step))

    def translated(self, text: str, step: str) -> Reading:
        """Return a reading with another text of the same length, character for character."""
        if len(text) != len(self.text):
            raise ValueError(f"{step}: {len(self.text)} characters became {len(text)}")
        return Reading(text, self.starts, self.ends, (*self.steps, step))

    def reversed(self, step: str) -> Reading:
        return Reading(self.text[::-1], self.starts[::-1], self.ends[::-1], (*self.steps, step))

    def rewritten(self, rewrites: Iterable[Rewrite], step: str) -> Reading:
        """Replace spans, in order and without overlap; each new character stands for the whole span replaced."""
        texts: list[str] = []
        starts: list[int] = []
        ends: list[int] = []
        done = 0
        for start, end, new in rewrites:
            texts += [self.text[done:start], new]
            first, last = self.original(start, end)
            starts += [*self.starts[done:start], *[first] * len(new)]
            ends += [*self.ends[done:start], *[last] * len(new)]
            done = end
        texts.append(self.text[done:])
        return Reading("".join(texts), [*starts, *self.starts[done:]], [*ends, *self.ends[done:]], (*self.steps, step))


def original(text: str) -> Reading:
    return Reading(text, range(len(text)), range(1, len(text) + 1))


def said(words: Set[str], text: str) -> Set[str]:
    """Return the words that are in the text; all if it isn't ASCII, where `lower` and patterns disagree."""
    if not text.isascii():
        return words
    low = text.lower()
    return {word for word in words if word in low}


def ascii_letters(text: str) -> bytes:
    """Return one byte for each character: `?` for those beyond ASCII."""
    return text.encode("ascii", "replace")


class Prefilter:
    """A row of character classes that every match of a pattern holds, such as `Prefilter("ddd", d="0123456789")`."""

    def __init__(self, row: str, **classes: str) -> None:
        self._row = row.encode()
        names = {ord(member): ord(name) for name, members in classes.items() for member in members}
        self._classes = bytes(names.get(code, 0) for code in range(256))

    def may_be_in(self, letters: bytes) -> bool:
        return self._row in letters.translate(self._classes)


# The invisible "tag" letters mirror ASCII. Models read them, people do not see them: decode, do not drop.
TAGS = range(0xE0020, 0xE007F)
# Invisible, yet not in category Cf: the grapheme joiner, Hangul fillers, variation selectors.
_FILLERS = {0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFFA0, *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)}
# Small capitals, letters in circles and flags have a letter in their name and no compatibility form.
_NAMED = re.compile(
    r"(?:NEGATIVE )?(?:LATIN|SQUARED|CIRCLED|REGIONAL INDICATOR).* LETTER "
    r"(?:SMALL CAPITAL |REVERSED |TURNED )?([A-Z])(?: WITH .+)?"
)
_KNOWN = 4096  # letters whose plain form is remembered


def is_invisible(letter: str) -> bool:
    """Return whether a character has no width: format characters, fillers, tags."""
    return not letter.isascii() and (ord(letter) in _FILLERS or unicodedata.category(letter) == "Cf")


def plain(reading: Reading) -> Reading:
    """Drop invisible letters, decode tag letters, and bring the rest into Unicode form NFKC."""
    return reading if reading.text.isascii() else reading.mapped(_plain, "unicode")


@lru_cache(_KNOWN)
def _plain(letter: str) -> str:
    if ord(letter) in TAGS:
        return chr(ord(letter) - 0xE0000)
    return "" if is_invisible(letter) else unicodedata.normalize("NFKC", letter)


def skeleton(reading: Reading) -> Reading:
    """Return a plain reading as the eye sees it: without accents, with look-alikes of other scripts as ASCII."""
    return reading if reading.text.isascii() else reading.mapped(_seen, "homoglyphs")


@lru_cache(_KNOWN)
def _seen(letter: str) -> str:
    if letter.isascii():
        return letter
    context = []
    for part in unicodedata.normalize("NFKD", letter):
        if not unicodedata.combining(part):
            named = _NAMED.fullmatch(unicodedata.name(part, ""))
            context.append(
                part if part.isascii() else _look_alikes().get(part) or (named[1].lower() if named else part)
            )
    return "".join(context)


@cache
def _look_alikes() -> Mapping[str, str]:
    """Return letters that are not ASCII with the ASCII letter or digit that each looks like."""
    from confusable_homoglyphs.confusables import confusables_data

    found = {}
    for letter, alike in confusables_data.items():
        options = [each["c"] for each in alike if len(each["c"]) == 1 and each["c"].isascii() and each["c"].isalnum()]
        if len(letter) == 1 and not letter.isascii() and options:
            # The data take a small l for every upright stroke; behind a capital it is an I.
            found[letter] = "I" if options[0] == "l" and letter.isupper() else options[0]
    return found
