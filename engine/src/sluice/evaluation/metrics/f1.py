"""Token F1 against the closest expected span, after SQuAD normalisation. Answerable rows only."""

from sluice.evaluation.answer_text import token_f1
from sluice.evaluation.registry import Output, Row, metric


@metric(
    what="harmonic mean of token precision and recall against the closest expected answer: 2·common / (ours + theirs)",
    unit="share",
    rows="with answers",
)
def f1(row: Row, output: Output) -> float | None:
    if not row.answers:
        return None
    return max(token_f1(output.text, answer) for answer in row.answers)
