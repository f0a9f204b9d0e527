"""E-mail addresses, telephone numbers and payment card numbers."""

from __future__ import annotations

import re
import string
from typing import Literal

from pydantic import Field
from stdnum import luhn

from sluice.core.settings import Settings
from sluice.guardrails.check import Finding, PatternCheck, check
from sluice.guardrails.text_normalization.prefilter import Prefilter, ascii_letters

Kind = Literal["email", "phone", "card"]


class PersonalDataOptions(Settings):
    kinds: tuple[Kind, ...] = Field(("email", "phone", "card"), min_length=1, description="what to look for")


# No pattern may match across a sentence end (`.`, `!` or `?` and white space): streams are checked by sentence.
# `git@host:path` is the address of a repository, hence the look-ahead.
_EMAIL = re.compile(
    r"(?<![\w.+-])[\w.+-]{1,64}@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z]{2,24}(?![\w@]|:[\w/])"
)
_DIGITS = string.digits + "?"  # also those beyond ASCII
_PHONES = (
    (
        Prefilter("pd", p="+", d=_DIGITS),
        re.compile(
            r"(?<![\w+])\+[1-9]\d{0,2}[ .-]?(?:\(0?\d{1,4}\)[ .-]?)?\d{1,5}(?:[ ./-]?\d{2,5}){1,5}(?!\w|[.,]\d)"
        ),
    ),
    (
        Prefilter("ddd", d=_DIGITS),
        re.compile(r"(?<![\w.+-])(?:\([2-9]\d{2}\) ?|[2-9]\d{2}[-. ])[2-9]\d{2}[-. ]\d{4}(?![\w-]|[.,]\d)"),
    ),
    (
        Prefilter("ddd", d=_DIGITS),
        re.compile(r"(?<![\w.,+-])\(?0[1-9]\d{1,4}\)?[ /-]\d{2,4}(?:[ -]?\d{2,4}){1,3}(?![\w-]|[.,]\d)"),
    ),
)
# First digits of the card networks; a millisecond timestamp starts with 1 and is therefore none.
_CARD_HINT = Prefilter("dddd", d=_DIGITS)
_CARD = re.compile(r"(?<![\w.+-])[2-6]\d{3}(?:[ -]?\d){9,15}(?![\w-]|[.,]\d)")


@check
class PersonalDataCheck(PatternCheck):
    name = "personal_data"
    options_model = PersonalDataOptions

    def find_in(self, text: str) -> list[Finding]:
        """All findings, one for each address or number. A card number must pass the Luhn checksum (ISO/IEC 7812)."""
        spans: list[tuple[Kind, int, int]] = []
        if "@" in text:
            spans += [("email", *m.span()) for m in _EMAIL.finditer(text)]
        spans += _numbers(text)
        return [
            Finding(f"personal_data.{kind}", start, end) for kind, start, end in spans if kind in self.options.kinds
        ]


def _numbers(text: str) -> list[tuple[Kind, int, int]]:
    letters = ascii_letters(text)
    cards = []
    if _CARD_HINT.may_be_in(letters):
        cards = [m.span() for m in _CARD.finditer(text) if luhn.is_valid(_digits(m[0]))]
    spans: list[tuple[Kind, int, int]] = [("card", *span) for span in cards]
    for hint, pattern in _PHONES:
        if not hint.may_be_in(letters):
            continue
        for match in pattern.finditer(text):
            inside_a_card = any(start <= match.start() < end for start, end in cards)
            if 9 <= len(_digits(match[0])) <= 15 and not inside_a_card:
                spans.append(("phone", *match.span()))
    return spans


def _digits(text: str) -> str:
    return "".join(letter for letter in text if letter.isdecimal())
