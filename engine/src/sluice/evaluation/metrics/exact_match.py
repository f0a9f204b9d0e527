"""Exact match: the normalised answer equals one of the expected spans. Answerable rows only."""

from sluice.evaluation.answer_text import normalise
from sluice.evaluation.registry import Output, Row, metric


@metric(
    what="the answer equals an expected one after SQuAD's normalisation (case, punctuation, articles)",
    unit="share",
    rows="with answers",
)
def exact_match(row: Row, output: Output) -> float | None:
    if not row.answers:
        return None
    return float(normalise(output.text) in {normalise(answer) for answer in row.answers})
