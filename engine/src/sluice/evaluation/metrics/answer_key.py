"""Answer key: whether an answer states every fact that a right one must, in any words around them.

A row without a key is right when one of its answers occurs, a row without answers when it was declined: one figure says
how many visitors were served.
"""

from sluice.data.expectations import states_key
from sluice.evaluation.registry import Output, Row, metric


@metric(
    what="each fact of the row's `expect.answer_key` is stated, or else one of its answers; without answers: declined",
    unit="share",
)
def answer_key(row: Row, output: Output) -> float:
    """Judges one case.

    Args:
        row: what was asked.
        output: what came of it.

    Returns:
        1 for a right answer, else 0.
    """
    if not row.answers:
        return float(output.declined)
    key = row.expect.answer_key if row.expect else ()
    return float(not output.declined and states_key(output.text, key or (row.answers,)))
