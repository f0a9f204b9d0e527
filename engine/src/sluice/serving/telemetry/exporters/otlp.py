"""Any OpenTelemetry collector, by OTLP over HTTP with protobuf."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from sluice.core.errors import SluiceError
from sluice.serving.telemetry.backend_http import BackendClient
from sluice.serving.telemetry.background_queue import BatchLostError
from sluice.serving.telemetry.otlp_encoding import TracedSpans, protobuf
from sluice.serving.telemetry.spans import Dialect, FeedbackScore, ProcessFacts, feedback_span, plain, spans_of
from sluice.serving.telemetry.traces import Trace

if TYPE_CHECKING:
    from sluice.serving.telemetry.settings import TraceSettings

_PROTOBUF = "application/x-protobuf"


def open_exporter(settings: TraceSettings, facts: ProcessFacts, state: Path) -> OtlpExporter:  # noqa: ARG001 - all take these
    headers = _headers(settings.otlp.headers_env)
    return OtlpExporter(settings.otlp.endpoint, headers, settings.timeout_seconds, facts)


class OtlpExporter:
    """Scores go as a span named `feedback` in the trace that they are about."""

    def __init__(
        self, endpoint: str, headers: Mapping[str, str], timeout: float, facts: ProcessFacts, dialect: Dialect = plain
    ) -> None:
        self._endpoint = endpoint
        self._facts = facts
        self._dialect = dialect
        self.poster = BackendClient(timeout, headers)

    def deliver(self, items: Sequence[Trace | FeedbackScore]) -> None:
        traces: list[TracedSpans] = []
        for item in items:
            if isinstance(item, Trace):
                traces.append((item.trace_id, spans_of(item, self._facts, self._dialect)))
            else:
                traces.append((item.trace_id, [feedback_span(item, self._facts)]))
        if traces:
            self.send(traces)

    def send(self, traces: Sequence[TracedSpans], headers: Mapping[str, str] | None = None) -> None:
        """One request. What the collector itself rejected of it is a BatchLostError too."""
        content = protobuf(traces, self._facts.release).SerializeToString()
        _, kind, body = self.poster.send(
            "POST", self._endpoint, content, kind=_PROTOBUF, headers=headers, compress=True
        )
        if kind.startswith(_PROTOBUF):
            try:
                rejected = ExportTraceServiceResponse.FromString(body).partial_success.rejected_spans
            except DecodeError:
                raise BatchLostError("garbage", f"{self._endpoint}: the answer is not OTLP") from None
            if rejected:
                each = sum(len(spans) for _, spans in traces) / len(traces)
                raise BatchLostError("rejected", f"{rejected} spans", count=max(1, round(rejected / each)))

    def idle(self) -> None:
        """Nothing to do between batches."""

    def close(self) -> None:
        self.poster.close()


def _headers(variable: str) -> dict[str, str]:
    found = {}
    for pair in filter(None, os.environ.get(variable, "").split(",")):
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            raise SluiceError(
                f"the variable {variable} is not name=value,name=value",
                remedy="its value is not shown: it may be secret",
            )
        found[name.strip()] = value.strip()
    return found
