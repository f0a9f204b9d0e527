"""Whether a decoded text is meaningful: the share of common English words in it.

The words are typical of questions and instructions to a model. Every text decodes to something under rot13; a result
counts as a reading only if it contains more English words than before.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

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
    """The words of a text, in lower case."""
    return " ".join(_WORD.findall(text)).lower().split()


def says_more(decoded: Sequence[str], before: Sequence[str]) -> bool:
    """Whether somewhere among a few words in a row three more are common ones than before it was decoded; two in a text
    of a few words. `before`: the words in the order of the decoded ones."""
    gains = [(new in COMMON) - (old in COMMON) for new, old in zip(decoded, before, strict=False)]
    wanted = 2 if len(gains) < 5 else 3
    gained = sum(gains[:_WINDOW])
    for place in range(_WINDOW, len(gains)):
        if gained >= wanted:
            break
        gained += gains[place] - gains[place - _WINDOW]
    return gained >= wanted
