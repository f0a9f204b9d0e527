"""Features of the guard model: hashed n-grams, computed by the same code in training and serving. Letters become lower
case, white space one space, digits one zero; a number in brackets is not seen, and letters in a quotation differ from
those around it. Buckets' first half is for 3 to 5 characters, the second for words, 2 or 3 of them, and pairs with a
word or two between; each half of a row has length 1. Texts are hashed together: a numpy call on a short array costs as
much as a thousand n-grams."""

from __future__ import annotations

import re
import string
import zlib
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sluice.guardrails.checks.attacks import one_space, told_apart

BUCKETS = 1 << 19  # with a quarter of them forty thousand rows share too many
SIZES = (3, 4, 5)
WINDOW = 320  # characters that are judged together; more would hide an order in a long text
OVERLAP = 80
_LONGEST = 24  # characters of a word that a window leaves out where it cuts it
_HALF = BUCKETS // 2
# White space after a mark, new lines, or a mark and no space where a script has none.
_SENTENCE_END = re.compile(
    r"\s(?:(?<=[.!?;\u061b\u061f\u0964]\s)\s*|(?<=\n)\n*)|(?<=\u3002)\s*|(?<=[!?;])(?=[\u2e80-\uffef])"
)
_SENTENCE = 3  # words that make one
_UNSPACED = re.compile(r"[\u2e80-\uffef]{4}")  # makes one too
_MOST_SENTENCES = 200
_DIGITS = re.compile(r"\d+")
_REFERENCE = re.compile(r" ?[(\[]0[)\]]")
_ZEROS = str.maketrans("123456789", "000000000")
# Letters of alphabets and the marks on them, not their punctuation; any other character stands for itself.
_WORD = re.compile(
    r"[a-z0\uff41-\uff5a\u00c0-\u024f\u0300-\u060b\u060d-\u061a\u0620-\u0669\u066e-\u06d3\u06d5-\u0963\u0966-\u0dff"
    r"\u10a0-\u1fff]+|\S"
)
_FOREIGN = re.compile(r"[^\W\d_a-zA-Z\u00aa-\u024f\u1e00-\u1eff]")
_FOREIGN_SHARE = 0.2
_POLISH, _POLISH_SHARE = re.compile("[ąćęłńśźż]", re.IGNORECASE), 0.04
# Letters of quotations: what is told is other than what is asked for.
_TOLD = {ord(letter): 0xFF41 + place for place, letter in enumerate(string.ascii_lowercase)}
_NO_WORDS = dict.fromkeys(map(ord, string.ascii_lowercase + "0 "))
_KNOWN = 8192  # words whose code is remembered
_MOST_TOGETHER = 256  # texts in one call: a key has 32 bits, and memory is bounded
_PRIME = np.uint64(1_099_511_628_211)
_SHIFT = np.uint64(64 - _HALF.bit_length() + 1)
_SPREAD = np.uint64(0x9E3779B97F4A7C15)
_START, _END = 1, 2  # stand for the start and the end of a text among its words
_PAIRS = (1, 2, 3)  # words from one to the other

Codes = npt.NDArray[np.uint64]
Floats = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]
Keys = npt.NDArray[np.uint32]  # `BUCKETS` times the number of a text, and a bucket


class FeatureRows(NamedTuple):
    """The distinct buckets of the texts one after the other, with their values; `starts` has the beginnings and the
    end."""

    starts: Places
    places: Places
    values: Floats


class NGrams(NamedTuple):
    codes: Codes
    first: Keys
    last: Keys


def windows(text: str) -> list[str]:
    """Split a text in overlapping pieces of whole words, of at most `WINDOW` characters. The last is as long as the
    others: the mere end of a sentence reads as an order where the sentence is none."""
    text = one_space(text)
    if len(text) <= WINDOW:
        return [text]
    last = len(text) - WINDOW
    starts = dict.fromkeys(min(start, last) for start in range(0, len(text) - OVERLAP, WINDOW - OVERLAP))
    return [_whole_words(text, start) for start in starts]


def _whole_words(text: str, start: int) -> str:
    """Drop cut words at both ends, unless the text is written without spaces."""
    end = start + WINDOW
    first = text.find(" ", start - 1, start + _LONGEST) + 1 if start else 0
    after = text.rfind(" ", end - _LONGEST, end + 1) if end < len(text) else end
    return text[first or start : after if after > 0 else end]


def parts(text: str) -> list[str]:
    """Return what is judged by itself: each window, and each of several sentences, since an order between honest ones
    is hidden in a window. Very many neighbours are judged together."""
    whole = windows(text)
    pieces = [piece for piece in _SENTENCE_END.split(text) if piece.strip()]
    if len(pieces) < 2:
        return whole
    sentences = [piece for piece in pieces if len(piece.split()) >= _SENTENCE or _UNSPACED.search(piece)]
    step = -(-len(sentences) // _MOST_SENTENCES) or 1
    grouped = [" ".join(sentences[start : start + step]) for start in range(0, len(sentences), step)]
    return list(dict.fromkeys([*whole, *(piece for group in grouped for piece in windows(group))]))


def foreign(text: str) -> bool:
    """Tell if the text is largely in a script other than Latin, or has several Polish letters: the embedder reads
    neither."""
    if text.isascii():
        return False
    letters = sum(map(str.isalpha, text))
    others, polish = len(_FOREIGN.findall(text)), len(_POLISH.findall(text))
    return others >= max(1, _FOREIGN_SHARE * letters) or polish >= max(2, _POLISH_SHARE * letters)


def features(texts: Sequence[str]) -> FeatureRows:
    keys, sizes = map(np.concatenate, zip(*map(_sized, _together(texts)), strict=True))
    values = np.repeat(np.maximum(sizes, 1) ** -0.5, sizes).astype(np.float32)
    starts = np.cumsum(np.append(0, sizes.reshape(-1, 2).sum(axis=1)))
    return FeatureRows(starts, (keys & (BUCKETS - 1)).astype(np.int64), values)


def margins(texts: Sequence[str], weights: Floats) -> list[float]:
    """Return the weighted sum of each text's row; `weights` has one for each bucket."""
    return [found for some in _together(texts) for found in _margins(some, weights)]


def _together(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    return (texts[start : start + _MOST_TOGETHER] for start in range(0, len(texts), _MOST_TOGETHER))


def _margins(texts: Sequence[str], weights: Floats) -> list[float]:
    keys, sizes = _sized(texts)
    sums = np.bincount(keys // _HALF, weights[keys & (BUCKETS - 1)], 2 * len(texts))
    found: list[float] = (sums / np.sqrt(np.maximum(sizes, 1))).reshape(-1, 2).sum(axis=1).tolist()
    return found


def _sized(texts: Sequence[str]) -> tuple[Keys, Places]:
    """Return the buckets of all texts, and their number by text and half."""
    keys = _distinct(texts)
    return keys, np.bincount(keys // _HALF, minlength=2 * len(texts))


def _distinct(texts: Sequence[str]) -> Keys:
    """Return the distinct buckets of each text, ascending."""
    plain = [_plain(text) for text in texts]
    codes, first, last = map(np.concatenate, zip(*_letters(plain), *_words(plain), strict=True))
    whole = first == last  # an n-gram begins at every place; these end in the text where they begin
    keys = (((codes * _SPREAD) >> _SHIFT).astype(np.uint32) + first)[whole]
    keys.sort(kind="stable")  # texts come one after the other, and share much: a merge is quicker than a quicksort
    new = np.empty(len(keys), np.bool_)
    new[:1] = True
    np.not_equal(keys[1:], keys[:-1], out=new[1:])
    found: Keys = keys[new]
    return found


def _plain(text: str) -> str:
    low = told_apart(one_space(text.lower()), lambda quotation: quotation.translate(_TOLD))
    if low.isascii():
        low = low.translate(_ZEROS)
        while "00" in low:
            low = low.replace("00", "0")
    else:
        low = _DIGITS.sub("0", low)
    return _REFERENCE.sub("", low) if "0]" in low or "0)" in low else low


def _letters(texts: Sequence[str]) -> Iterator[NGrams]:
    padded = [f" {text} " for text in texts]
    codes = np.frombuffer("".join(padded).encode("utf-32-le"), np.uint32) + np.uint64(1)
    owners = _owners(map(len, padded), 0)
    rolled = codes
    for size in range(2, max(SIZES) + 1):
        rolled = rolled[:-1] * _PRIME + codes[size - 1 :]
        if size in SIZES:
            yield NGrams(rolled, owners[: len(rolled)], owners[size - 1 :])


def _words(texts: Sequence[str]) -> Iterator[NGrams]:
    inner = [_tokens(text) for text in texts]
    coded = [(_START, *map(_code, words), _END) if words else () for words in inner]
    codes = np.fromiter(chain.from_iterable(coded), np.uint64)
    owners = _owners(map(len, coded), _HALF)
    yield NGrams(codes, owners, owners)
    for distance in _PAIRS:
        pairs = codes[:-distance] * _PRIME + codes[distance:] + np.uint64(distance)
        yield NGrams(pairs, owners[:-distance], owners[distance:])
        if distance == 1:
            yield NGrams(pairs[:-1] * _PRIME + codes[2:], owners[:-2], owners[2:])


def _tokens(text: str) -> list[str]:
    if not text.isascii():
        return _WORD.findall(text)
    for sign in set(text.translate(_NO_WORDS)):
        text = text.replace(sign, f" {sign} ")
    return text.split()


@lru_cache(_KNOWN)
def _code(word: str) -> int:
    return zlib.crc32(word.encode())


def _owners(lengths: Iterable[int], half: int) -> Keys:
    """Return for each place the key of the first bucket of its text's half."""
    numbers = list(lengths)
    firsts = np.arange(half, half + BUCKETS * len(numbers), BUCKETS).astype(np.uint32)
    return np.repeat(firsts, numbers)
