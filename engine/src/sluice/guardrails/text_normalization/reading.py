"""A reading of a text, with a mapping from each of its characters to the original."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

Rewrite = tuple[int, int, str]


@dataclass(frozen=True)
class Reading:
    """`text[i]` stands for the original's characters from `starts[i]` up to `ends[i]`. `steps`: what was undone, in
    order; empty for the original itself."""

    text: str
    starts: Sequence[int]
    ends: Sequence[int]
    steps: tuple[str, ...] = ()

    def original(self, start: int, end: int) -> tuple[int, int]:
        """The span of the original that lies behind text[start:end] (start < end)."""
        return min(self.starts[start:end]), max(self.ends[start:end])

    def mapped(self, letter: Callable[[str], str], step: str) -> Reading:
        """Each character replaced by none, one or several."""
        letters: list[str] = []
        starts: list[int] = []
        ends: list[int] = []
        for place, old in enumerate(self.text):
            for new in letter(old):
                letters.append(new)
                starts.append(self.starts[place])
                ends.append(self.ends[place])
        return Reading("".join(letters), starts, ends, (*self.steps, step))

    def translated(self, text: str, step: str) -> Reading:
        """Another text of the same length, character for character. ValueError when the length differs."""
        if len(text) != len(self.text):
            raise ValueError(f"{step}: {len(self.text)} characters became {len(text)}")
        return Reading(text, self.starts, self.ends, (*self.steps, step))

    def reversed(self, step: str) -> Reading:
        """From the last character to the first."""
        return Reading(self.text[::-1], self.starts[::-1], self.ends[::-1], (*self.steps, step))

    def rewritten(self, rewrites: Iterable[Rewrite], step: str) -> Reading:
        """Spans replaced, in order and without overlap; each new character stands for the whole span replaced."""
        texts: list[str] = []
        starts: list[int] = []
        ends: list[int] = []
        done = 0
        for start, end, new in rewrites:
            texts += [self.text[done:start], new]
            first, last = self.original(start, end)
            starts += [*self.starts[done:start], *[first] * len(new)]
            ends += [*self.ends[done:start], *[last] * len(new)]
            done = end
        texts.append(self.text[done:])
        return Reading("".join(texts), [*starts, *self.starts[done:]], [*ends, *self.ends[done:]], (*self.steps, step))


def original(text: str) -> Reading:
    """The text as it was sent."""
    return Reading(text, range(len(text)), range(1, len(text) + 1))
