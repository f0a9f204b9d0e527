"""Decline accuracy: the share of unanswerable rows that were declined. Answerable rows do not count here."""

from sluice.evaluation.registry import Output, Row, metric


@metric(what="declined", unit="share", rows="without answers, which must be declined (answers: [])")
def decline_accuracy(row: Row, output: Output) -> float | None:
    return None if row.answers else float(output.declined)
