"""Text normalization against obfuscation: all readings of a text that a model might understand.

`normalize_text` undoes what hides a text from those who check it: Unicode tricks, letters apart, digits for letters,
and encodings inside encodings. Checks look at each reading; what they find is told as a span of the text as it was
sent, so that it can be redacted. The work is bounded: the length of the text, the depth, the readings, their length
together.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from sluice.guardrails.text_normalization.encodings import decoded
from sluice.guardrails.text_normalization.letters import plain, skeleton
from sluice.guardrails.text_normalization.reading import Reading, original
from sluice.guardrails.text_normalization.spellings import ciphers, joined, letters_for_digits

MOST_CHARACTERS = 16_384  # of a text; what is longer is not read at all
MOST_DEPTH = 4  # steps behind the first reading
MOST_READINGS = 16
_MOST_TOGETHER = 3 * MOST_CHARACTERS  # characters of all readings


@dataclass(frozen=True)
class NormalizedText:
    """`readings`: the plainest first, no text twice. `complete`: nothing was left unread for the bounds."""

    readings: tuple[Reading, ...]
    complete: bool = True


def normalize_text(text: str) -> NormalizedText:
    """All readings of a text within the bounds. Of a text that is too long there is none, and it is not complete."""
    if len(text) > MOST_CHARACTERS:
        return NormalizedText((), False)
    first = plain(original(text))
    readings: list[Reading] = []
    context: set[str] = set()
    waiting = deque([(0, first)])
    left = _MOST_TOGETHER
    complete = True
    while waiting:
        depth, reading = waiting.popleft()
        if reading.text in context:
            continue
        if len(readings) >= MOST_READINGS or len(reading.text) > left or depth > MOST_DEPTH:
            complete = False
            break
        context.add(reading.text)
        readings.append(reading)
        left -= len(reading.text)
        waiting.extend((depth + 1, each) for each in _readings(reading))
    return NormalizedText(tuple(readings), complete)


def _readings(reading: Reading) -> Iterator[Reading]:
    """The readings one step behind this one."""
    if not reading.text.isascii():
        yield plain(reading)
        yield skeleton(reading)
    for each in (joined(reading), letters_for_digits(reading)):
        if each is not None:
            yield each
    yield from decoded(reading)
    yield from ciphers(reading)
