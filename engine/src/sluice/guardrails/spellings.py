"""Alternative spellings of words: spaced letters, digits for letters, rot13, Atbash, reversed text.

Every text decodes to something, so a result counts only if it has more of the words that are common in questions.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterator, Sequence
from functools import lru_cache

from sluice.guardrails.reading import Reading, Rewrite

_WORD = re.compile(r"(?<![\w+/=])[A-Za-z]{2,}(?![\w+/=])")
_WINDOW = 8  # words in a row
_COMMON = """
about above access act after again all also always an and answer any anything are as ask at back be because been
before being both but by bypass can change chat code command complete could data day debug decode developer did
disable disregard do does done don down each everything example execute exactly few first follow following for
forget free from full get give given go good guidelines had has have hello help here hidden how if ignore in
information initial instead instructions into is it its just keep key know last like limits line list long look
made make many me message messages mode model more most must my never new no not now of off on only open or order
orders original other our out output over override password people please previous print prior private prompt
question read reply repeat reply respond restrictions reveal rules safe safety same say secret secrets see send
set should show so some stop such system tell text than that the their them then there these they this those
through time to token translate two under unfiltered unrestricted up us use user using very want was way we were
what when where which who will with without word words work would write you your
"""
COMMON = frozenset(_COMMON.split())


def words(text: str) -> list[str]:
    return " ".join(_WORD.findall(text)).lower().split()


def says_more(decoded: Sequence[str], before: Sequence[str]) -> bool:
    """Return whether a few decoded words in a row have three more common ones than `before`; two in a short text."""
    gains = [(new in COMMON) - (old in COMMON) for new, old in zip(decoded, before, strict=False)]
    wanted = 2 if len(gains) < 5 else 3
    gained = sum(gains[:_WINDOW])
    for place in range(_WINDOW, len(gains)):
        if gained >= wanted:
            break
        gained += gains[place] - gains[place - _WINDOW]
    return gained >= wanted


_GAP = r"[ \t\n.,;:\-_*|/+~·•]"
# "i g n o r e  a l l …" and "i.g.n.o.r.e": five or more single letters in a row.
_TWO_APART = re.compile(rf"{_GAP}\w{_GAP}{{1,3}}\w{_GAP}")  # in every such run, and found in half the time
_APART = re.compile(rf"(?<!\w)(?:\w{_GAP}{{1,3}}){{4,}}\w(?!\w)")
# "m e @ e x a m p l e . o r g": signs stand apart too, and belong to the text.
_TWO_SIGNS_APART = re.compile(r"[ \t\n]\S[ \t\n]{1,3}\S[ \t\n]")
_SIGNS_APART = re.compile(r"(?<!\S)[\w+](?:[ \t\n]{1,3}\S){4,}(?!\S)")
_BLANKS = re.compile(r"[ \t\n]+")
_MOSTLY = 0.6  # of such signs are letters or digits; of a row of a table they are fewer
# "in-struc-tions": three or more short pieces of a word. Numbers with points and dashes are not words.
_PIECES = re.compile(r"(?<![\w.\-])[A-Za-z]{1,4}(?:([\-_.*~|·•])[A-Za-z]{1,5})(?:\1[A-Za-z]{1,5})+(?![\w\-])")
_TWO_PIECES = re.compile(r"[\-_.*~|·•][A-Za-z]{1,5}[\-_.*~|·•][A-Za-z]")
_GAPS = re.compile(rf"{_GAP}+")

_LEET = {"0": "o", "1": "i", "3": "e", "4": "a", "5": "s", "7": "t", "8": "b", "9": "g", "@": "a", "$": "s", "!": "i",
         "|": "l", "+": "t", "(": "c", "€": "e"}  # fmt: skip
_SPELT = str.maketrans({sign: letter for sign, letter in _LEET.items() if sign != "1"})
_ONE = "il"  # what a one may stand for
_KNOWN = 4096  # words with signs whose letters are remembered: what is versioned, counted and measured comes again
_MOST_ONES = 4  # of which each may stand for either
# A sign after a letter and before another or a digit, or before a letter; `!` must stand after one. Both patterns begin
# with the sign, since letters are everywhere.
_MIXED_SOMEWHERE = re.compile(r"[013457-9@$!|+(€](?:(?<=[A-Za-z].)[013457-9@$!|+(€]*[A-Za-z0-9$]|(?<!!)[A-Za-z])")
_MIXED = re.compile(r"[0-9@$!|+(€][A-Za-z0-9@$!|+(€]{0,24}")
_LETTERS_BEFORE = 24  # of a sign that belong to the same word
_ROT13 = str.maketrans(
    string.ascii_letters,
    string.ascii_lowercase[13:]
    + string.ascii_lowercase[:13]
    + string.ascii_uppercase[13:]
    + string.ascii_uppercase[:13],
)
_ATBASH = str.maketrans(string.ascii_letters, string.ascii_lowercase[::-1] + string.ascii_uppercase[::-1])
_CIPHERS = {"rot13": _ROT13, "atbash": _ATBASH}
# Common words in each writing, without those that are words as they stand: most texts hold none of them.
_DISGUISED = {
    **{step: frozenset(word.translate(table) for word in COMMON) - COMMON for step, table in _CIPHERS.items()},
    "reversed": frozenset(word[::-1] for word in COMMON) - COMMON,
}


def joined(reading: Reading) -> Reading | None:
    """Join letters that stand apart; a wider gap than the narrowest of its run is one between words."""
    rewrites: list[Rewrite] = []
    taken = bytearray(len(reading.text))
    for hint, pattern, change in _JOINS:
        for run in pattern.finditer(reading.text) if hint.search(reading.text) else ():
            if not any(taken[run.start() : run.end()]) and (changed := change(run)):
                taken[run.start() : run.end()] = b"\1" * len(run[0])
                rewrites += changed
    return reading.rewritten(sorted(rewrites), "spacing") if rewrites else None


def _without_blanks(run: re.Match[str]) -> list[Rewrite]:
    signs = _BLANKS.sub("", run[0])
    return _closed(run, _BLANKS) if sum(map(str.isalnum, signs)) >= _MOSTLY * len(signs) else []


def _closed(run: re.Match[str], gap: re.Pattern[str]) -> list[Rewrite]:
    gaps = [found.span() for found in gap.finditer(run.string, *run.span())]
    narrow = min(end - start for start, end in gaps)
    return [(start, end, "" if end - start == narrow else " ") for start, end in gaps]


# What is in every such run, the run, and what is made of it: the first that takes a place has it.
_JOINS = (
    (_TWO_SIGNS_APART, _SIGNS_APART, _without_blanks),
    (_TWO_APART, _APART, lambda run: _closed(run, _GAPS)),
    (_TWO_PIECES, _PIECES, lambda run: [(*run.span(), run[0].replace(run[1], ""))]),
)


def letters_for_digits(reading: Reading) -> Reading | None:
    """Spell words with digits or signs for letters out; None when that gives no new common word.

    Else numbers that spell a short word are words too (`70` is `to`).
    """
    if not _MIXED_SOMEWHERE.search(reading.text):
        return None
    letters = list(reading.text)
    numbers = []
    found = False
    for start, end in _mixed(reading.text):
        word = reading.text[start:end]
        if _LEET.keys().isdisjoint(word):
            continue
        best, common = _spelt(word)
        if word.isdecimal():
            numbers.append(((start, end), best, common or best == "a"))
        elif common or word.lower() != word.upper():
            letters[start:end] = best
            found = found or common
    for (start, end), best, common in numbers:
        if common:
            letters[start:end] = best
    return reading.translated("".join(letters), "leetspeak") if found else None


def _mixed(text: str) -> Iterator[tuple[int, int]]:
    done = 0
    for match in _MIXED.finditer(text):
        earliest = max(done, match.start() - _LETTERS_BEFORE)
        start = earliest + len(text[earliest : match.start()].rstrip(string.ascii_letters))
        done = match.end()
        yield start, done


@lru_cache(_KNOWN)
def _spelt(word: str) -> tuple[str, bool]:
    """Return the word with letters for signs, and whether that is a common word."""
    best = _first_known(word)
    return best, best in COMMON or best.rstrip("i") in COMMON


def _first_known(word: str) -> str:
    start, *rest = word.lower().translate(_SPELT).split("1")
    if len(rest) > _MOST_ONES:
        return _ONE[0].join((start, *rest))
    options = [start]
    for piece in rest:
        options = [option + one + piece for option in options for one in _ONE]
    for option in options:
        if option in COMMON or (word.endswith("!") and option.rstrip("i") in COMMON):
            return option
    return options[0]


def ciphered(text: str) -> list[str]:
    """Return the text in each of the ways that `ciphers` undoes."""
    return [*(text.translate(table) for table in _CIPHERS.values()), text[::-1]]


def ciphers(reading: Reading) -> Iterator[Reading]:
    """Yield the readings under rot13, Atbash and reversal that say more than the text does."""
    before = words(reading.text)
    for step, table in _CIPHERS.items():
        if not _DISGUISED[step].isdisjoint(before):
            text = reading.text.translate(table)
            if says_more(words(text), before):
                yield reading.translated(text, step)
    if not _DISGUISED["reversed"].isdisjoint(before) and says_more(words(reading.text[::-1]), before[::-1]):
        yield reading.reversed("reversed")
