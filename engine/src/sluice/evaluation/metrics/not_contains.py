"""Does not contain: no text of the row's `expect.not_contains` occurs in the answer, compared as for contains.

Only rows that ask for it. An answer that declines passes, as long as the decline text holds none of the texts.
"""

from sluice.evaluation.answer_text import fold
from sluice.evaluation.registry import Assertion, Output, Row, metric


@metric(what="no text of `expect.not_contains` occurs", unit="share", rows="that ask for it", aggregate="share")
def not_contains(row: Row, output: Output) -> Assertion | None:
    if row.expect is None or not row.expect.not_contains:
        return None
    answer = fold(output.text)
    found = [text for text in row.expect.not_contains if fold(text) in answer]
    return Assertion(not found, f"in the answer: {', '.join(map(repr, found))}" if found else "")
