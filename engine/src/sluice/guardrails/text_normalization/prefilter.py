"""A cheap prefilter for a regular expression: most texts hold no match, and the prefilter costs a twentieth of the
pattern."""

from __future__ import annotations

from collections.abc import Set


def said(words: Set[str], text: str) -> Set[str]:
    """Those of the words, of lower case, that are in the text in any case. All of them beyond ASCII: there `lower` and
    patterns disagree about which letters are the same."""
    if not text.isascii():
        return words
    low = text.lower()
    return {word for word in words if word in low}


def ascii_letters(text: str) -> bytes:
    """One byte for each character: `?` for those beyond ASCII."""
    return text.encode("ascii", "replace")


class Prefilter:
    """What every match of a pattern holds: a row of characters, each of a class. `Prefilter("ddd", d="0123456789")`"""

    def __init__(self, row: str, **classes: str) -> None:
        self._row = row.encode()
        names = {ord(member): ord(name) for name, members in classes.items() for member in members}
        self._classes = bytes(names.get(code, 0) for code in range(256))

    def may_be_in(self, letters: bytes) -> bool:
        """`letters`: the text, as `ascii_letters` gives it."""
        return self._row in letters.translate(self._classes)
