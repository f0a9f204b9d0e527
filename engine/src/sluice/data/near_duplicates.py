"""Finds near-duplicate questions without comparing every pair.

Two texts are near when their word sets overlap by `NEAR_DUPLICATE` (Jaccard). Two sets can only overlap that much when
they share one of their rarest words (prefix filtering: Bayardo, Ma, Srikant 2007), so only texts that do are compared.
The result is exact.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Sequence

from sluice.data.rows import Row

NEAR_DUPLICATE = 0.8
"""Share of common words from which two questions count as nearly the same."""

# Scripts without spaces between words are compared by character.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W_\u3040-\u30ff\u3400-\u9fff]+")


def words(text: str) -> list[str]:
    """Return the words of a text, normalised (NFKC, case folded), without punctuation."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def repeats_within(rows: Sequence[Row]) -> dict[int, int]:
    """Return positions of rows that ask what an earlier row asks, with that row's position.

    Rows with exactly the same words always do; nearly the same words do if an answer is shared, or if both decline:
    "Who is the chair?" and "Who is the vice-chair?" have different answers. Only the first row of a group is compared
    with."""
    bags = [_bag(row.in_context) for row in rows]
    index = _WordIndex(bags)
    same: dict[frozenset[str], int] = {}
    found: dict[int, int] = {}
    for number, (row, bag) in enumerate(zip(rows, bags, strict=True)):
        keys: set[Hashable] = {tuple(words(answer)) for answer in row.answers} or {None}
        earlier = same.setdefault(bag, number)
        near = earlier if earlier != number else index.find(bag, keys)
        if near is None:
            index.add(number, bag, keys)
        else:
            found[number] = near
    return found


def repeats_across(base: Sequence[Row], probe: Sequence[Row]) -> dict[int, int]:
    """Return positions of questions that are nearly one of another set, whatever the answers."""
    base_bags, probe_bags = [_bag(row.in_context) for row in base], [_bag(row.in_context) for row in probe]
    index = _WordIndex([*base_bags, *probe_bags])
    for number, bag in enumerate(base_bags):
        index.add(number, bag, {None})
    near = {number: index.find(bag, {None}) for number, bag in enumerate(probe_bags)}
    return {number: place for number, place in near.items() if place is not None}


def _bag(text: str) -> frozenset[str]:
    return frozenset(words(text)) or frozenset({text.strip()})


class _WordIndex:
    """Word sets by their rarest words. Only sets with a common key are compared.

    Sets that differ in a number are different whatever else they share ("... in 1990?", "... in 1991?")."""

    def __init__(self, bags: Sequence[frozenset[str]]) -> None:
        self._frequency = Counter(word for bag in bags for word in bag)
        self._bags: dict[int, frozenset[str]] = {}
        self._places: defaultdict[Hashable, list[int]] = defaultdict(list)

    def add(self, number: int, bag: frozenset[str], keys: Collection[Hashable]) -> None:
        self._bags[number] = bag
        for place in self._places_of(bag, keys):
            self._places[place].append(number)

    def find(self, bag: frozenset[str], keys: Collection[Hashable]) -> int | None:
        """Return the first added set that is near `bag`."""
        candidates = {number for place in self._places_of(bag, keys) for number in self._places.get(place, ())}
        return min((number for number in candidates if _is_near(bag, self._bags[number])), default=None)

    def _places_of(self, bag: frozenset[str], keys: Collection[Hashable]) -> list[Hashable]:
        numbers = frozenset(word for word in bag if any(c.isdigit() for c in word))
        order = sorted(bag, key=lambda word: (self._frequency[word], word))
        rarest = order[: len(bag) - math.ceil(NEAR_DUPLICATE * len(bag) - 1e-9) + 1]  # forgiving floating point
        return [(key, numbers, word) for key in keys for word in rarest]


def _is_near(one: frozenset[str], other: frozenset[str]) -> bool:
    return len(one & other) >= NEAR_DUPLICATE * len(one | other) - 1e-9
