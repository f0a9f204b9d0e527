"""Leaks: personal data, credentials and the application's own instructions; `redact` for stored texts.

No pattern may match across a sentence end (`.`, `!` or `?` and white space): streams are checked by sentence.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterator
from typing import Literal

from pydantic import Field
from stdnum import luhn

from sluice.core.settings import Settings
from sluice.guardrails.check import CheckResources, Finding, NoOptions, PatternCheck, check, redacted
from sluice.guardrails.reading import Prefilter, ascii_letters, original, plain, said
from sluice.guardrails.spellings import ciphered

Kind = Literal["email", "phone", "card"]


class PersonalDataOptions(Settings):
    kinds: tuple[Kind, ...] = Field(("email", "phone", "card"), min_length=1, description="what to look for")


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
        """Return a finding for each address or number. A card number must pass the Luhn checksum (ISO/IEC 7812)."""
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


_START = r"(?<![A-Za-z0-9])"
_NAMES = (
    r"password|passwd|passphrase|pwd|secret|client[_ -]secret|secret[_ -](?:access[_ -])?key|api[_ -]?key|"
    r"(?:access|auth|bearer|refresh)[_ -]token"
)
# Kind, pattern, and texts in lower case one of which stands in whatever the pattern matches: most texts hold none of
# them, and looking for those costs a tenth of looking for the pattern.
_SECRETS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    # A body without the letters that end sentences; the last line may be missing.
    (
        "private_key",
        r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----(?:(?!-----)[\w+/=\s:,-])*(?:-----END [A-Z0-9 ]+-----)?",
        ("-----begin",),
    ),
    ("api_key", _START + r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}(?![A-Za-z0-9])", ("akia", "asia", "abia", "acca")),
    ("api_key", _START + r"sk-(?=[\w-]*\d)(?:[a-z0-9]{2,12}-)*[\w-]{20,}", ("sk-",)),
    (
        "api_key",
        _START + r"(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_\w{22,}|glpat-[\w-]{20,}|hf_[A-Za-z0-9]{30,})",
        ("gh", "github_pat_", "glpat-", "hf_"),
    ),
    (
        "api_key",
        _START + r"(?:xox[abeoprs]-[A-Za-z0-9-]{10,}|AIza[\w-]{35}|[rs]k_(?:live|test)_[A-Za-z0-9]{16,})",
        ("xox", "aiza", "k_live_", "k_test_"),
    ),
    ("api_key", _START + r"sluice_[0-9a-f]{8}_[\w-]{43}", ("sluice_",)),
    ("token", _START + r"eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}", ("eyj",)),
    ("password", r"(?<=://)[^\s/:@]{1,64}:(?P<value>[^\s/:@]{3,})(?=@)", ("://",)),
    (
        "password",
        rf"(?i:\b(?:{_NAMES})[\"']?\s*(?:[:=]|\bis\b)\s*|\bbearer\s+)[\"'`]?(?P<value>[^\s\"'`,;]{{6,}})",
        ("password", "passwd", "passphrase", "pwd", "secret", "api", "access", "auth", "refresh", "bearer"),
    ),
)
_SECRET_PATTERNS = tuple((kind, re.compile(pattern), words) for kind, pattern, words in _SECRETS)
_SECRET_WORDS = frozenset(word for _, _, words in _SECRETS for word in words)
_PLACEHOLDER = re.compile(r"^[<\[{$%(]|\.{3}|\*{3}|x{4}|\(|^os\.|^env", re.IGNORECASE)


@check
class SecretsCheck(PatternCheck):
    name = "secrets"

    def find_in(self, text: str) -> list[Finding]:
        """Return all findings; for a password or token that is spelt out the span is its value only."""
        found = []
        words_said = said(_SECRET_WORDS, text)
        for kind, pattern, words in _SECRET_PATTERNS:
            if words_said.isdisjoint(words):
                continue
            for match in pattern.finditer(text):
                start, end = match.span()
                if "value" in pattern.groupindex:
                    start, end = match.span("value")
                    end -= len(match["value"]) - len(match["value"].rstrip(".?)]"))
                    if not _like_a_secret(text[start:end]):
                        continue
                found.append(Finding(f"secrets.{kind}", start, end))
        return found


def _like_a_secret(value: str) -> bool:
    """Tell secrets from words, counts and placeholders."""
    if len(value) < 6 or _PLACEHOLDER.search(value):
        return False
    return any(c.isdigit() for c in value) and any(not c.isdigit() for c in value)


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
    for sentence in _BREAK.split(instructions):
        words = [word.lower() for word in _WORD.findall(sentence)]
        if _FEWEST <= len(words) < length:
            yield tuple(words)
        for first in range(len(words) - length + 1):
            yield tuple(words[first : first + length])


_CHECKS = (
    PersonalDataCheck(PersonalDataOptions.model_validate({}), CheckResources()),
    SecretsCheck(NoOptions(), CheckResources()),
)


def redact(text: str) -> str:
    """Return the text with `[redacted: <kind>]` instead of each finding."""
    context = plain(original(text))
    found = [each for check in _CHECKS for each in check.find_in(context.text)]
    return redacted(text, [(*context.original(each.start, each.end), each.reason) for each in found])
