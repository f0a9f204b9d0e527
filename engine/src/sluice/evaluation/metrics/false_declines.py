"""False declines: the share of answerable rows that were declined. Unanswerable rows do not count here."""

from sluice.evaluation.registry import Output, Row, metric


@metric(what="declined", unit="share", rows="with answers", direction="lower")
def false_declines(row: Row, output: Output) -> float | None:
    return float(output.declined) if row.answers else None
