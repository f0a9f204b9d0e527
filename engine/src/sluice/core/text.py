"""Plain text: valid names, sentences, normal forms for comparisons, and Markdown that shows any text as it is."""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NoReturn

# Names of tenants and keys end up in files, logs and labels, so only plain characters are allowed.
NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")
RULE = "1 to 64 of a-z, 0-9, '.', '_' and '-', with a letter or digit at both ends"
# A sentence ends where white space follows its mark, and at the end of a line; CJK marks need no white space.
_SENTENCE_END = re.compile(r"(?<=[.!?…])[\"'”’)\]]*\s+|(?<=[。！？])|\n+")
# Scripts that put no spaces between words, or write particles without one: each character is a piece.
ALONE = "\u0e00-\u0eff\u1780-\u17ff\u3040-\u9fff\uac00-\ud7af"
_ABBREVIATION = re.compile(r"(?:^|\s)(?:e\.g|i\.e|cf|vs|approx|no|fig|dr|mr|mrs|st)\.$", re.IGNORECASE)


def sentences(text: str) -> list[str]:
    """Split a text into sentences without white space around them; a full stop after an abbreviation ends none."""
    found: list[str] = []
    start = 0
    for end in _SENTENCE_END.finditer(text):
        if "\n" not in end[0] and _ABBREVIATION.search(text[start : end.start()]):
            continue
        found.append(text[start : end.end()])
        start = end.end()
    found.append(text[start:])
    return [stripped for sentence in found if (stripped := sentence.strip())]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join(code(cell) for cell in row)} |" for row in rows]
    return "\n".join(lines) + "\n"


def code(text: str) -> str:
    """Return one line of code. No part of it is Markdown, HTML, a mention, or a command to the runner, which reads
    `##[` anywhere in a line of a log."""
    plain = text.encode("utf-8", "replace").decode()
    shown = "".join(letter if letter.isprintable() else " " for letter in plain)
    shown = " ".join(shown.replace("`", "'").replace("|", "¦").replace("##[", "## [").split())
    return f"`{shown}`" if shown else ""


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


def no_number(name: str) -> NoReturn:
    """Refuse NaN and Infinity, which Python reads: for `json.loads(…, parse_constant=no_number)`."""
    raise ValueError(f"{name} is no JSON")
