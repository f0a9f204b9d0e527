"""Token F1 against the closest expected span, after SQuAD normalisation. Answerable rows only."""

from collections import Counter
from typing import Literal

from sluice.data.rows import Row
from sluice.evaluation.output import Output
from sluice.evaluation.text import normalise


class F1:
    name = "f1"
    version = "1"
    unit = "share"
    direction: Literal["higher"] = "higher"
    aggregate: Literal["mean"] = "mean"
    rows = "with answers"

    def score(self, row: Row, output: Output) -> float | None:
        if not row.answers:
            return None
        return max(token_f1(output.text, answer) for answer in row.answers)


def token_f1(found: str, expected: str) -> float:
    """Harmonic mean of token precision and recall, in [0, 1]."""
    ours, theirs = normalise(found).split(), normalise(expected).split()
    common = sum((Counter(ours) & Counter(theirs)).values())
    return 2 * common / (len(ours) + len(theirs)) if common else 0.0
