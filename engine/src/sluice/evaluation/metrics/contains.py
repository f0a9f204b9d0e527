"""Contains: every text of the row's `expect.contains` occurs in the answer, compared without case.

Only rows that ask for it. White space counts as one space, Unicode's compatibility forms as equal; punctuation counts.
"""

from typing import Literal

from sluice.data.rows import Row
from sluice.evaluation.output import Assertion, Output
from sluice.evaluation.text import fold


class Contains:
    name = "contains"
    version = "1"
    unit = "share"
    direction: Literal["higher"] = "higher"
    aggregate: Literal["share"] = "share"

    def score(self, row: Row, output: Output) -> Assertion | None:
        if row.expect is None or not row.expect.contains:
            return None
        answer = fold(output.text)
        missing = [text for text in row.expect.contains if fold(text) not in answer]
        return Assertion(not missing, f"not in the answer: {', '.join(map(repr, missing))}" if missing else "")
