"""Seeing through disguise: every reading of a text that a model might make of it.

`unfold` undoes what hides a text from those who check it: Unicode tricks, letters apart, digits for letters, and
encodings inside encodings. Checks look at each layer; what they find is told as a span of the text as it was sent, so
that it can be redacted. The work is bounded: the length of the text, the depth, the layers, their length together.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from sluice.guardrails.unfolding.encodings import decoded
from sluice.guardrails.unfolding.layer import Layer, original
from sluice.guardrails.unfolding.letters import plain, skeleton
from sluice.guardrails.unfolding.writing import ciphers, joined, letters_for_digits

MOST_CHARACTERS = 16_384  # of a text; what is longer is not read at all
MOST_DEPTH = 4  # steps behind the first reading
MOST_LAYERS = 16
_MOST_TOGETHER = 3 * MOST_CHARACTERS  # characters of all layers


@dataclass(frozen=True)
class Unfolded:
    """`layers`: the readings, the plainest first, no text twice. `complete`: nothing was left unread for the bounds."""

    original: str
    layers: tuple[Layer, ...]
    complete: bool = True


def unfold(text: str) -> Unfolded:
    """All readings of a text within the bounds. Of a text that is too long there is none, and it is not complete."""
    if len(text) > MOST_CHARACTERS:
        return Unfolded(text, (), False)
    first = plain(original(text))
    layers: list[Layer] = []
    seen: set[str] = set()
    waiting = deque([(0, first)])
    left = _MOST_TOGETHER
    complete = True
    while waiting:
        depth, layer = waiting.popleft()
        if layer.text in seen:
            continue
        if len(layers) >= MOST_LAYERS or len(layer.text) > left or depth > MOST_DEPTH:
            complete = False
            break
        seen.add(layer.text)
        layers.append(layer)
        left -= len(layer.text)
        waiting.extend((depth + 1, each) for each in _readings(layer))
    return Unfolded(text, tuple(layers), complete)


def _readings(layer: Layer) -> Iterator[Layer]:
    """The layers one step behind this one."""
    if not layer.text.isascii():
        yield plain(layer)
        yield skeleton(layer)
    for each in (joined(layer), letters_for_digits(layer)):
        if each is not None:
            yield each
    yield from decoded(layer)
    yield from ciphers(layer)


__all__ = ["MOST_CHARACTERS", "Layer", "Unfolded", "unfold"]
