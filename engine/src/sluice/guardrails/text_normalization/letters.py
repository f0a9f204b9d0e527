"""Normalizes characters: invisible ones, compatibility forms, accents, look-alikes from other scripts."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from functools import cache, lru_cache

from sluice.guardrails.text_normalization.reading import Reading

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
    """Whether a character has no width: format characters, fillers, tags."""
    return not letter.isascii() and (ord(letter) in _FILLERS or unicodedata.category(letter) == "Cf")


def plain(reading: Reading) -> Reading:
    """Invisible letters dropped, tag letters decoded, the rest in Unicode form NFKC. ASCII is plain already."""
    return reading if reading.text.isascii() else reading.mapped(_plain, "unicode")


@lru_cache(_KNOWN)
def _plain(letter: str) -> str:
    if ord(letter) in TAGS:
        return chr(ord(letter) - 0xE0000)
    return "" if is_invisible(letter) else unicodedata.normalize("NFKC", letter)


def skeleton(reading: Reading) -> Reading:
    """A plain reading as the eye sees it: accents dropped, letters of other scripts as the ASCII they look like."""
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
    """Letters that are not ASCII, and the ASCII letter or digit that each looks like."""
    from confusable_homoglyphs.confusables import confusables_data

    found = {}
    for letter, alike in confusables_data.items():
        options = [each["c"] for each in alike if len(each["c"]) == 1 and each["c"].isascii() and each["c"].isalnum()]
        if len(letter) == 1 and not letter.isascii() and options:
            # The data take a small l for every upright stroke; behind a capital it is an I.
            found[letter] = "I" if options[0] == "l" and letter.isupper() else options[0]
    return found
