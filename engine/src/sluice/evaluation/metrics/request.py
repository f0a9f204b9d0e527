"""What an answer took: its times, tokens and cost."""

from functools import partial

from sluice.evaluation.registry import Output, Row, metric

_ASKED = "that reached the model"
_of_time = partial(metric, what="wall time of the whole answer", unit="ms", needs="clock", direction="lower")


def _latency(_row: Row, output: Output) -> float | None:
    return output.latency_ms


latency_p50_ms = _of_time(name="latency_p50_ms", aggregate="p50")(_latency)
latency_p95_ms = _of_time(name="latency_p95_ms", aggregate="p95")(_latency)


@metric(what="time to the first text", unit="ms", rows=_ASKED, needs="clock", direction="lower", aggregate="p50")
def ttft_p50_ms(_row: Row, output: Output) -> float | None:
    return output.ttft_ms


@metric(what="tokens of prompt and answer", unit="tokens", rows=_ASKED, direction="lower")
def tokens(_row: Row, output: Output) -> float | None:
    total = output.prompt_tokens + output.completion_tokens
    return float(total) if total else None


_PRICED = "by the prices of `config/providers.yaml`"


@metric(what=_PRICED, unit="USD", rows="whose tokens are known", needs="price", direction="lower")
def cost_usd(_row: Row, output: Output) -> float | None:
    return output.cost
