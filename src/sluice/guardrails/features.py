"""What the guard model sees of a text: hashed character n-grams. Training and serving make them with this code.

Letters are lower case, runs of white space one space, runs of digits one zero. Each n-gram of 3 to 5 bytes falls into
one of `BUCKETS`; a row is the set of its buckets, scaled to length 1, so that a long text counts no more than a short.
"""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt

BUCKETS = 1 << 16
SIZES = (3, 4, 5)
WINDOW = 320  # characters that are judged together; more would hide an order in a long text
OVERLAP = 80
_SPACE = re.compile(r"\s+")
_DIGITS = re.compile(r"\d+")
_PRIME = np.uint64(1_099_511_628_211)
_SHIFT = np.uint64(64 - BUCKETS.bit_length() + 1)
_SPREAD = np.uint64(0x9E3779B97F4A7C15)


def windows(text: str) -> list[str]:
    """The text in pieces of at most `WINDOW` characters that overlap; a short one is one piece."""
    text = _SPACE.sub(" ", text).strip()
    if len(text) <= WINDOW:
        return [text]
    step = WINDOW - OVERLAP
    return [text[start : start + WINDOW] for start in range(0, len(text) - OVERLAP, step)]


def buckets(text: str) -> npt.NDArray[np.int64]:
    """The distinct buckets of a text's n-grams, in ascending order."""
    letters = _DIGITS.sub("0", f" {_SPACE.sub(' ', text.lower()).strip()} ").encode()
    codes = np.frombuffer(letters, dtype=np.uint8).astype(np.uint64)
    found = []
    rolled = np.zeros(len(codes), dtype=np.uint64)
    for size in range(1, max(SIZES) + 1):
        if len(codes) < size:
            break
        rolled = rolled[: len(codes) - size + 1] * _PRIME + codes[size - 1 :] + np.uint64(1)
        if size in SIZES:
            found.append((rolled * _SPREAD) >> _SHIFT)
    return np.unique(np.concatenate(found)).astype(np.int64) if found else np.empty(0, np.int64)
