"""Decide if a passage supports a sentence: by shared words first, then by embeddings.

0. A claim whose words stand in a row in a passage is copied, and supported.
1. The passage's sentence that shares most content words with the claim is its evidence. Shared are words with a common
   stem, without function words; a number counts as a word, "two" being 2.
2. Every number of the claim must stand in the evidence, and both must be negated or neither: embeddings do not see it
   when one of these was changed.
3. From `COPIED` of the content words on, the claim is supported. From `NEAR` on it is when the cosine between claim and
   evidence is at least `ALIKE`. Below, it is not.

Stems, function words and negations are those of English. It is no reader: a claim that swaps roles ("input costs more
than output" for the reverse) passes. engine/docs/reference/metrics.md says how often it agrees with people.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sluice.core.text import sentences
from sluice.data.near_duplicates import words

COPIED = 0.8
NEAR = 0.5
ALIKE = 0.7

_SMALL = """
a an the of to in on at by for from with as is are was were be been being it its this that these those and or but if
then than so do does did has have had will would can could may might must should there their they them he she his
her you your we our i which who whom whose what when where how only any all also just within after before per each
into over under about up out one
"""
_FUNCTION_WORDS = frozenset(_SMALL.split())
_NEGATIONS = frozenset(("no", "not", "never", "none", "neither", "nor", "cannot", "without", "t"))
_TO_NINETEEN = """
two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen
"""
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_NUMBERS = {
    **{word: str(number) for number, word in enumerate(_TO_NINETEEN.split(), 2)},
    **{word: str(10 * number) for number, word in enumerate(_TENS.split(), 2)},
    "zero": "0",
    "twice": "2",
    "hundred": "100",
    "thousand": "1000",
    "million": "1000000",
}
_ENDINGS = ("ing", "ed", "es", "s", "ly")


class SupportingEvidence(NamedTuple):
    """The best evidence for a claim: a sentence, or the passage it is copied from. `share` is that of the claim's
    content words, 0 if a number or a negation speaks against it."""

    sentence: str
    share: float


def find_evidence(claim: str, passages: Sequence[str]) -> SupportingEvidence:
    """Return the best evidence in the passages; an empty sentence if there is none."""
    if copied := next((passage for passage in passages if _in_a_row(claim, passage)), None):
        return SupportingEvidence(copied, 1.0)
    candidates = [sentence for passage in passages for sentence in sentences(passage)]
    found = (SupportingEvidence(sentence, _share(claim, sentence)) for sentence in candidates)
    return max(found, key=lambda evidence: evidence.share, default=SupportingEvidence("", 0.0))


def _in_a_row(claim: str, passage: str) -> bool:
    return bool(words(claim)) and f" {' '.join(words(claim))} " in f" {' '.join(words(passage))} "


def _share(claim: str, sentence: str) -> float:
    wanted, there = _content(claim), set(_content(sentence))
    numbers = {word for word in wanted if word[0].isdigit()}
    if not wanted or not numbers <= there or _negated(claim) != _negated(sentence):
        return 0.0
    return sum(word in there for word in wanted) / len(wanted)


def _negated(text: str) -> bool:
    return not _NEGATIONS.isdisjoint(words(text))


def _content(text: str) -> list[str]:
    ignored = _FUNCTION_WORDS | _NEGATIONS
    return [_NUMBERS.get(word) or _stem(word) for word in words(text) if word not in ignored]


def _stem(word: str) -> str:
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 4:
            return word.removesuffix(ending)
    return word
