"""Wall time of a whole answer in milliseconds, over all cases."""

from sluice.data.rows import Row
from sluice.evaluation.output import Metric, Output
from sluice.evaluation.registry import metric


class _Latency(Metric):
    what = "wall time of the whole answer"
    unit = "ms"
    needs = "clock"
    direction = "lower"

    def score(self, row: Row, output: Output) -> float | None:  # noqa: ARG002 - the protocol's signature
        return output.latency_ms


@metric
class LatencyP50(_Latency):
    name = "latency_p50_ms"
    aggregate = "p50"


@metric
class LatencyP95(_Latency):
    name = "latency_p95_ms"
    aggregate = "p95"
