"""Wall time of a whole answer in milliseconds, over all cases."""

from functools import partial

from sluice.evaluation.registry import Output, Row, metric

_of_time = partial(metric, what="wall time of the whole answer", unit="ms", needs="clock", direction="lower")


def _latency(_row: Row, output: Output) -> float | None:
    return output.latency_ms


latency_p50_ms = _of_time(name="latency_p50_ms", aggregate="p50")(_latency)
latency_p95_ms = _of_time(name="latency_p95_ms", aggregate="p95")(_latency)
