"""Language of an answer: a label, the ISO 639-1 code. Answers, not declines, whose language can be told.

Spans of a few words mostly have none: `sluice.evaluation.language` says how sure it must be.
"""

from typing import Literal

from sluice.data.rows import Row
from sluice.evaluation.language import language_of
from sluice.evaluation.output import Label, Output


class Language:
    name = "language"
    version = "1"
    unit = "language"
    direction = None
    aggregate: Literal["counts"] = "counts"
    needs = "model"

    def score(self, row: Row, output: Output) -> Label | None:  # noqa: ARG002 - the protocol's signature
        found = None if output.declined else language_of(output.text)
        return Label(found) if found else None
