"""Cuts a growing text into sentences, so that each can be checked before it is sent.

The sentences do not depend on the pieces of the stream: a stream and a complete answer give the same ones.
"""

from __future__ import annotations

import re

# A sentence ends where white space follows its mark; no pattern of an output check may match across this. Where letters
# stand apart ("m e @ e x a m p l e . o r g") a mark between them ends nothing.
_END = re.compile(r"(?<!\s\S\s)[.!?…][\"'”’)\]]*(?=\s)")


class SentenceSplitter:
    """Takes pieces of text and returns finished sentences; together they are the whole text.

    `whole`: for answers that can only be checked as a whole, no sentence is finished before the end."""

    def __init__(self, *, whole: bool = False) -> None:
        self._open = ""
        self._whole = whole

    def feed(self, piece: str) -> list[str]:
        """The sentences that this piece finishes. White space between two sentences belongs to the second."""
        self._open += piece
        finished: list[str] = []
        while not self._whole and (match := _END.search(self._open)):
            finished.append(self._open[: match.end()])
            self._open = self._open[match.end() :]
        return finished

    def rest(self) -> str:
        """What is left when the text is over."""
        rest, self._open = self._open, ""
        return rest
