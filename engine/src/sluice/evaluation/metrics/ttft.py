"""Time to the first token in milliseconds, over the cases that reached the model."""

from sluice.evaluation.registry import Output, Row, metric


@metric(
    what="time to the first text",
    unit="ms",
    rows="that reached the model",
    needs="clock",
    direction="lower",
    aggregate="p50",
)
def ttft_p50_ms(_row: Row, output: Output) -> float | None:
    return output.ttft_ms
