"""Normal forms for comparing texts."""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalise(text: str) -> str:
    """Drop case, punctuation, articles and extra white space, as the SQuAD evaluation does (Rajpurkar, 2016)."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def fold(text: str) -> str:
    """Drop case and extra white space, and unify compatibility forms (NFKC); keep punctuation."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def token_f1(found: str, expected: str) -> float:
    """Return the harmonic mean of token precision and recall, after SQuAD's normalisation."""
    ours, theirs = normalise(found).split(), normalise(expected).split()
    common = sum((Counter(ours) & Counter(theirs)).values())
    return 2 * common / (len(ours) + len(theirs)) if common else 0.0
