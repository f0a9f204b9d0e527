"""Other ways to write a word: letters apart, digits for letters, rot13, Atbash, from the end to the start."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator
from itertools import product

from sluice.guardrails.unfolding.english import COMMON, says_more, words
from sluice.guardrails.unfolding.layer import Layer, Rewrite

_GAP = r"[ \t\n.,;:\-_*|/+~·•]"
# "i g n o r e  a l l …" and "i.g.n.o.r.e": five or more single letters in a row.
_APART = re.compile(rf"(?<!\w)(?:\w{_GAP}{{1,3}}){{4,}}\w(?!\w)")
# "m e @ e x a m p l e . o r g": signs stand apart too, and belong to the text.
_SIGNS_APART = re.compile(r"(?<!\S)[\w+](?:[ \t\n]{1,3}\S){4,}(?!\S)")
_BLANKS = re.compile(r"[ \t\n]+")
_MOSTLY = 0.6  # of such signs are letters or digits; of a row of a table they are fewer
# "in-struc-tions": three or more short pieces of a word. Numbers with points and dashes are not words.
_PIECES = re.compile(r"(?<![\w.\-])[A-Za-z]{1,4}(?:([\-_.*~|·•])[A-Za-z]{1,5})(?:\1[A-Za-z]{1,5})+(?![\w\-])")
_GAPS = re.compile(rf"{_GAP}+")

_LEET = {"0": "o", "1": "i", "3": "e", "4": "a", "5": "s", "7": "t", "8": "b", "9": "g", "@": "a", "$": "s", "!": "i",
         "|": "l", "+": "t", "(": "c", "€": "e"}  # fmt: skip
_ONE = "il"  # what a one may stand for
_MIXED_SOMEWHERE = re.compile(r"[A-Za-z][013457-9@$!|+(€]+[A-Za-z0-9$]|[013457-9@$|+(€][A-Za-z]")
_MIXED = re.compile(r"[A-Za-z]{0,24}[0-9@$!|+(€][A-Za-z0-9@$!|+(€]{0,24}")
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


def joined(layer: Layer) -> Layer | None:
    """Letters that stand apart put together; a wider gap than the narrowest of its run is one between words."""
    rewrites: list[Rewrite] = []
    taken = bytearray(len(layer.text))
    for pattern, change in ((_SIGNS_APART, _without_blanks), (_APART, _without_gaps), (_PIECES, _in_one)):
        for run in pattern.finditer(layer.text):
            if not any(taken[run.start() : run.end()]) and (changed := change(run)):
                taken[run.start() : run.end()] = b"\1" * len(run[0])
                rewrites += changed
    return layer.rewritten(sorted(rewrites), "spacing") if rewrites else None


def _without_blanks(run: re.Match[str]) -> list[Rewrite]:
    signs = _BLANKS.sub("", run[0])
    return _closed(run, _BLANKS) if sum(map(str.isalnum, signs)) >= _MOSTLY * len(signs) else []


def _without_gaps(run: re.Match[str]) -> list[Rewrite]:
    return _closed(run, _GAPS)


def _in_one(run: re.Match[str]) -> list[Rewrite]:
    return [(*run.span(), run[0].replace(run[1], ""))]


def _closed(run: re.Match[str], gap: re.Pattern[str]) -> list[Rewrite]:
    """Without its narrow gaps."""
    gaps = [found.span() for found in gap.finditer(run.string, *run.span())]
    narrow = min(end - start for start, end in gaps)
    return [(start, end, "" if end - start == narrow else " ") for start, end in gaps]


def letters_for_digits(layer: Layer) -> Layer | None:
    """Words with digits or signs for letters, spelt out; None when that gives no common word that was not there. Where
    it does, numbers that spell a short word are words too (`70` is `to`), and elsewhere they are numbers."""
    if not _MIXED_SOMEWHERE.search(layer.text):
        return None
    letters = list(layer.text)
    numbers = []
    found = False
    for match in _MIXED.finditer(layer.text):
        word = match[0]
        if not any(c in _LEET for c in word):
            continue
        best = _spelt(word)
        common = best in COMMON or best.rstrip("i") in COMMON
        if word.isdecimal():
            numbers.append((match.span(), best, common or best == "a"))
        elif common or any(c.isalpha() for c in word):
            letters[match.start() : match.end()] = best
            found = found or common
    for (start, end), best, common in numbers:
        if common:
            letters[start:end] = best
    return layer.translated("".join(letters), "leetspeak") if found else None


def _spelt(word: str) -> str:
    low = word.lower()
    ones = low.count("1")
    if ones > 4:
        return "".join(_LEET.get(c, c) for c in low)
    options = []
    for choice in product(_ONE, repeat=ones):
        given = iter(choice)
        options.append("".join(next(given) if c == "1" else _LEET.get(c, c) for c in low))
    trimmed = [option.rstrip("i") if word.endswith("!") else option for option in options]
    known = next((n for n, option in enumerate(trimmed) if option in COMMON or options[n] in COMMON), 0)
    return options[known]


def ciphered(text: str) -> list[str]:
    """The text in each of the ways that `ciphers` undoes."""
    return [*(text.translate(table) for table in _CIPHERS.values()), text[::-1]]


def ciphers(layer: Layer) -> Iterator[Layer]:
    """The readings under rot13, Atbash and from the end to the start that say more than the text does."""
    before = words(layer.text)
    for step, table in _CIPHERS.items():
        if not _DISGUISED[step].isdisjoint(before):
            text = layer.text.translate(table)
            if says_more(words(text), before):
                yield layer.translated(text, step)
    if not _DISGUISED["reversed"].isdisjoint(before) and says_more(words(layer.text[::-1]), before[::-1]):
        yield layer.reversed("reversed")
