"""What the guard model sees of a text without the embedder: hashed n-grams, made by this code in training and serving.

Letters are lower case, runs of white space one space, runs of digits one zero. Each n-gram falls into one of `BUCKETS`:
the first half is for runs of 3 to 5 bytes, the second for words, runs of 2 and 3 words, and pairs with a word or two
between them. Each half of a row is scaled to length 1, so that a long text counts no more than a short one.
"""

from __future__ import annotations

import re
import zlib
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

BUCKETS = 1 << 19  # with a quarter of them forty thousand rows share too many
SIZES = (3, 4, 5)
WINDOW = 320  # characters that are judged together; more would hide an order in a long text
OVERLAP = 80
_HALF = BUCKETS // 2
_SENTENCE_END = re.compile(r"(?<=[.!?;])\s+|\n+")
_SENTENCE = 3  # words that make one
_MOST_SENTENCES = 200
_SPACE = re.compile(r"\s+")
_DIGITS = re.compile(r"\d+")
_WORD = re.compile(r"[a-z0]+|[^\sa-z0]")
_PRIME = np.uint64(1_099_511_628_211)
_SHIFT = np.uint64(64 - _HALF.bit_length() + 1)
_SPREAD = np.uint64(0x9E3779B97F4A7C15)
_EDGES = (np.uint64(1), np.uint64(2))  # stand for the start and the end of a text among its words
_PAIRS = (1, 2, 3)  # words from one to the other

Codes = npt.NDArray[np.uint64]


class Row(NamedTuple):
    """A text's buckets, no bucket twice, and the value in each."""

    places: npt.NDArray[np.int64]
    values: npt.NDArray[np.float32]


def windows(text: str) -> list[str]:
    """The text in pieces of at most `WINDOW` characters that overlap; a short one is one piece."""
    text = _SPACE.sub(" ", text).strip()
    if len(text) <= WINDOW:
        return [text]
    step = WINDOW - OVERLAP
    return [text[start : start + WINDOW] for start in range(0, len(text) - OVERLAP, step)]


def parts(text: str) -> list[str]:
    """What is judged by itself: each window, and in a text of several sentences each of them. An order between honest
    sentences is hidden in a window and not in its sentence. Where there are very many, neighbours are judged together.
    """
    whole = windows(text)
    pieces = [piece for piece in _SENTENCE_END.split(text) if piece.strip()]
    if len(pieces) < 2:
        return whole
    sentences = [piece for piece in pieces if len(piece.split()) >= _SENTENCE]
    step = -(-len(sentences) // _MOST_SENTENCES) or 1
    grouped = [" ".join(sentences[start : start + step]) for start in range(0, len(sentences), step)]
    return list(dict.fromkeys([*whole, *(piece for group in grouped for piece in windows(group))]))


def features(text: str) -> Row:
    """Of a text of any length; one without letters has few or none."""
    plain = _DIGITS.sub("0", _SPACE.sub(" ", text.lower()).strip())
    letters = _buckets(_letters(plain))
    words = _buckets(_words(plain)) + _HALF
    values = [np.full(len(half), max(1, len(half)) ** -0.5, np.float32) for half in (letters, words)]
    return Row(np.concatenate((letters, words)), np.concatenate(values))


def _letters(plain: str) -> list[Codes]:
    """Codes of all runs of bytes, of each size."""
    codes = np.frombuffer(f" {plain} ".encode(), dtype=np.uint8).astype(np.uint64)
    found = []
    rolled = np.zeros(len(codes), dtype=np.uint64)
    for size in range(1, max(SIZES) + 1):
        if len(codes) < size:
            break
        rolled = rolled[: len(codes) - size + 1] * _PRIME + codes[size - 1 :] + np.uint64(1)
        if size in SIZES:
            found.append(rolled)
    return found


def _words(plain: str) -> list[Codes]:
    """Codes of words, of their pairs by distance, and of three in a row."""
    inner = [zlib.crc32(word.encode()) for word in _WORD.findall(plain)]
    if not inner:
        return []
    codes = np.array([_EDGES[0], *inner, _EDGES[1]], dtype=np.uint64)
    found = [codes]
    for distance in _PAIRS:
        pairs = codes[:-distance] * _PRIME + codes[distance:] + np.uint64(distance)
        found.append(pairs)
        if distance == 1:
            found.append(pairs[:-1] * _PRIME + codes[2:])
    return found


def _buckets(codes: list[Codes]) -> npt.NDArray[np.int64]:
    """The distinct buckets of one half, in ascending order."""
    if not codes:
        return np.empty(0, np.int64)
    return np.unique((np.concatenate(codes) * _SPREAD) >> _SHIFT).astype(np.int64)
