"""Token F1 against the closest expected span, after SQuAD normalisation. Answerable rows only."""

from collections import Counter

from sluice.evaluation.answer_text import normalise
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


def token_f1(found: str, expected: str) -> float:
    """Harmonic mean of token precision and recall, after SQuAD's normalisation.

    Args:
        found: a text.
        expected: another; the order of the two does not matter.

    Returns:
        0 to 1.
    """
    ours, theirs = normalise(found).split(), normalise(expected).split()
    common = sum((Counter(ours) & Counter(theirs)).values())
    return 2 * common / (len(ours) + len(theirs)) if common else 0.0
