"""Attacks on the model: prompt injection, text that uses encoding to evade the checks, and texts that are too long."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from pydantic import Field

from sluice.core.settings import Settings
from sluice.guardrails.check import WHOLE, Check, CheckContext, Finding, PatternCheck, check
from sluice.guardrails.reading import TAGS, is_invisible, said
from sluice.guardrails.text_normalization import MOST_CHARACTERS


def one_space(text: str) -> str:
    if text.isprintable() and "  " not in text:  # most texts, ten times as quick; no other white space is printable
        return text.strip(" ")
    return " ".join(text.split())


_QUOTED = re.compile(  # of bounded length: a long text of opening marks takes no longer than another
    r"(?<!\w)(?:\"[^\"]{,400}\"|`[^`]{,400}`|\u201c[^\u201d]{,400}\u201d"
    r"|['\u2018](?:[^'\u2019]|['\u2019](?=\w)){,400}['\u2019](?!\w))|<!--.{,400}?-->"
)
_MARKS = ('"', "'", "`", "\u201c", "\u2018", "<!--")
_LONG, _AROUND = 14, 4  # characters, and words around them, at least


def told_apart(text: str, quotation: Callable[[str], str]) -> str:
    if not any(mark in text for mark in _MARKS) or len(_QUOTED.sub(" ", text).split()) < _AROUND:
        return text
    return _QUOTED.sub(lambda found: quotation(found[0]) if len(found[0]) >= _LONG else found[0], text)


# Where an imperative may stand: where a clause begins, or behind a word that leads up to one; else a quote mentions it.
_LEAD = (
    r"(?:(?:^|[.!?:;,\n>*#(\[–—-] ?)[\"'“‘]*"
    r"|\b(?:please|now|just|and|then|but|so|first|simply|kindly|instead|must|shall|you|you to|"
    r"you (?:must|should|will|can|could|are to|need to)) )(?:(?:please|now|just|also) )*"
)
_EARLIER = (
    "previous|prior|above|earlier|preceding|former|foregoing|original|initial|existing|system|safety|other|current"
)
_DETERMINER = "all|any|every|each|of|the|your|my|our|these|those|this|that|its"
_ORDERS = (
    "(?:instructions?|directions?|directives?|prompts?|rules?|guidelines?|commands?|orders|constraints|restrictions|"
    r"guardrails)\b"
)
_HIDDEN = "system|initial|original|hidden|secret|internal|developer|full|exact|complete|entire|whole|current|verbatim"
_DROP = (
    "ignore|disregard|forget|override|bypass|discard|drop|neglect|skip|"
    "(?:do not|don['’]?t|stop) (?:follow|obey)(?:ing)?"
)
_SHOW = (
    "reveal|show|print|repeat|output|display|tell|give|write(?: out)?|leak|expose|dump|recite|echo|quote|share|"
    "disclose|return|copy|translate|summari[sz]e|encode"
)
_FREE = r"dan\b|jailbroken|unrestricted|unfiltered|uncensored|bound by|free (?:from|of) (?:all )?(?:rules|restrictions)"
_NO_RULES = "(?:no|without(?: any)?) (?:rules|restrictions|guidelines|filters|limits)"

# Kind, pattern, and texts in lower case one of which stands in whatever the pattern matches: most questions hold none
# of them, and looking for those costs a hundredth of looking for the pattern.
_OBJECTS = ("instruction", "prompt", "rule", "guideline")
_LIMITS = ("rules", "restrictions", "guidelines", "filters", "limits")
_PATTERNS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (
        "override",
        rf"{_LEAD}(?:{_DROP}) (?:(?:{_DETERMINER}|{_EARLIER}|and|or) )*"
        rf"(?:{_EARLIER}|your|all|these|those|my|the) (?:\w+ )?{_ORDERS}",
        (*_OBJECTS, "direction", "directive", "command", "orders", "constraints", "restrictions", "guardrails"),
    ),
    (
        "override",
        rf"{_LEAD}(?:ignore|disregard|forget) (?:everything|anything|all|what(?:ever)?) "
        r"(?:(?:that )?(?:i|we|you) (?:\w+ ){1,4})?(?:above|before|previously|so far|earlier|up to (?:now|here))\b",
        ("ignore", "disregard", "forget"),
    ),
    (  # of letters that stood apart, and between words no further: a reading has them joined
        "override",
        rf"(?:ignore|disregard|forget|override|bypass)(?:{_DETERMINER}|{_EARLIER})+"
        r"(?:instruction|prompt|rule|guideline)s?|"
        "(?:reveal|show|print|repeat|tell)(?:me|us|the|your|full|hidden)*(?:systemprompt|yourprompt|yourinstructions)",
        _OBJECTS,
    ),
    (
        "role",
        rf"\byou are (?:now|no longer) (?:(?:an?|in|the) )?(?:\w+ ){{0,2}}?(?:{_FREE}|developer mode)",
        ("you are no",),
    ),
    (
        "role",
        rf"{_LEAD}(?:pretend|act|behave|respond|answer|imagine) (?:as if |as though |that |as |like )?"
        rf"(?:you (?:are|were|have) )?(?:an? )?(?:not )?(?:{_FREE}|{_NO_RULES})",
        (*_LIMITS, "dan", "jailbroken", "unrestricted", "unfiltered", "uncensored", "bound by", "free "),
    ),
    (
        "role",
        rf"{_LEAD}(?:enter|enable|activate|switch (?:in)?to|turn on) (?:the )?"
        r"(?:developer|debug|god|dan|jailbreak|unrestricted) mode\b",
        (" mode",),
    ),
    (
        "extraction",
        rf"{_LEAD}(?:{_SHOW}) (?:to )?(?:(?:me|us|back|out) )*(?:what (?:is|are) )?"
        rf"(?:(?:all|of|the|your|this|that|these|those|{_HIDDEN}) )*"
        rf"(?:(?:system|developer) (?:prompt|message|instructions?)|"
        rf"(?:your|{_HIDDEN}) (?:prompt|instructions|rules|guidelines)|"
        r"(?:prompt|instructions|text|words|messages?|everything) (?:above|before this))"
        r"(?! (?:versions?|files?|names?|digests?|ids?)\b)",
        (*_OBJECTS, "message", " above", " before this"),
    ),
    (
        "extraction",
        rf"\bwhat(?: (?:is|are|was|were)|['’]s) your (?:(?:{_HIDDEN}) )*(?:prompt|instructions)\b",
        _OBJECTS,
    ),
    (
        "extraction",
        rf"{_LEAD}repeat (?:everything|all(?: of)?(?: the)?(?: \w+)?|the (?:words|text|lines?)) "
        r"(?:above|before|verbatim)\b",
        ("repeat ",),
    ),
    (
        "role_markers",
        r"<\|(?:[a-z_]{2,24}\|>\s?)?(?:system|user|assistant|developer|tool)|\[/?inst\]|<</?sys>>|</?(system|assistant)>|"
        r"(?:^|\n)(?:#{1,4} ?)?(?:system|assistant) ?:(?=[\s\"'“‘]*\w+[,'’]? \w)",  # words, not a value of YAML
        ("<|", "inst]", "sys>", "system", "assistant"),
    ),
)
_COMPILED = tuple((kind, re.compile(pattern, re.IGNORECASE), words) for kind, pattern, words in _PATTERNS)
_WORDS = frozenset(word for _, _, words in _PATTERNS for word in words)


class InjectionOptions(Settings):
    quotations: bool = Field(True, description="look into them even where a guard model tells reports")


@check
class InjectionCheck(PatternCheck):
    name = "injection"
    options_model = InjectionOptions
    actions = WHOLE

    def find_in(self, text: str) -> list[Finding]:
        """Return at most one finding of each kind, over the whole text."""
        judged = self.resources.model is not None and not self.options.quotations  # by the model, in their place
        asked = told_apart(text, lambda _: " ") if judged else text
        # Runs of white space become one: a new line where there was one in it, else a space.
        context = "\n".join(filter(None, map(one_space, asked.split("\n"))))
        forms = {context, one_line := context.replace("\n", " ")}  # an order may begin with a line, or run over lines
        words_said = said(_WORDS, one_line)
        kinds = {
            kind
            for kind, pattern, words in _COMPILED
            if not words_said.isdisjoint(words) and any(pattern.search(form) for form in forms)
        }
        return [Finding(f"injection.{kind}", 0, len(text)) for kind in sorted(kinds)]


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
        """Return at most one finding of each kind, over the whole text."""
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


class LengthOptions(Settings):
    max_characters: int = Field(2000, ge=1, description="longest text, in characters as they were sent")


@check
class LengthCheck(Check):
    name = "length"
    options_model = LengthOptions
    actions = ("block", "drop")

    def find(self, context: CheckContext) -> list[Finding]:
        most, length = self.options.max_characters, len(context.text)
        return [Finding("length.too_long", most, length)] if length > most else []
