"""Quotations in a text that says more than they: what is quoted is told, and need not be asked for."""

from __future__ import annotations

import re
from collections.abc import Callable

_QUOTED = re.compile(  # of bounded length: a long text of opening marks takes no longer than another
    r"(?<!\w)(?:\"[^\"]{,400}\"|`[^`]{,400}`|\u201c[^\u201d]{,400}\u201d"
    r"|['\u2018](?:[^'\u2019]|['\u2019](?=\w)){,400}['\u2019](?!\w))|<!--.{,400}?-->"
)
_MARKS = ('"', "'", "`", "\u201c", "\u2018", "<!--")
_LONG, _AROUND = 14, 4  # characters, and words around them, at least


def told_apart(text: str, quotation: Callable[[str], str]) -> str:
    """The text with something else in the place of its quotations."""
    if not any(mark in text for mark in _MARKS) or len(_QUOTED.sub(" ", text).split()) < _AROUND:
        return text
    return _QUOTED.sub(lambda found: quotation(found[0]) if len(found[0]) >= _LONG else found[0], text)
