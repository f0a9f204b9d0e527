"""Contains: every text of the row's `expect.contains` occurs in the answer, ignoring case.

Only rows that ask for it. White space counts as one space, Unicode's compatibility forms as equal; punctuation counts.
"""

from sluice.evaluation.answer_text import fold
from sluice.evaluation.registry import Assertion, Output, Row, metric


@metric(
    what="every text of the row's `expect.contains` occurs, without regard to case",
    unit="share",
    rows="that ask for it",
    aggregate="share",
)
def contains(row: Row, output: Output) -> Assertion | None:
    if row.expect is None or not row.expect.contains:
        return None
    answer = fold(output.text)
    missing = [text for text in row.expect.contains if fold(text) not in answer]
    return Assertion(not missing, f"not in the answer: {', '.join(map(repr, missing))}" if missing else "")
