"""Tokens of prompt and answer together, over the cases that reached the model."""

from sluice.evaluation.registry import Output, Row, metric


@metric(what="tokens of prompt and answer", unit="tokens", rows="that reached the model", direction="lower")
def tokens(_row: Row, output: Output) -> float | None:
    total = output.prompt_tokens + output.completion_tokens
    return float(total) if total else None
