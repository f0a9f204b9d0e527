"""Contains: one of the expected spans occurs, normalised, anywhere in the answer. Answerable rows only."""

from sluice.evaluation.answer_text import normalise
from sluice.evaluation.registry import Output, Row, metric


@metric(what="an expected answer occurs in the answer, both normalised", unit="share", rows="with answers")
def contains_answer(row: Row, output: Output) -> float | None:
    if not row.answers:
        return None
    words = f" {normalise(output.text)} "
    return float(any(f" {normalise(answer)} " in words for answer in row.answers))
