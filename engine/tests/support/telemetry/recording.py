"""Traces by the SDK whose spans are kept in memory, and the lines that its file exporter writes of them and reads."""

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from opentelemetry.exporter.otlp.json.file.trace_exporter import FileSpanExporter
from opentelemetry.proto_json.collector.trace.v1.trace_service import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

from sluice.serving.feedback import Feedback
from sluice.serving.telemetry.telemetry import Dialect, ProcessFacts, end_spans
from sluice.serving.telemetry.traces import Trace

RESOURCE = Resource({"service.name": "sluice"})


class RecordedTrace(Trace):
    """A sampled trace. `trace_id`: 32 hexadecimal digits, or any."""

    __slots__ = ("_memory",)

    def __init__(self, trace_id: str | None = None, *, contents: bool = False) -> None:
        self._memory = InMemorySpanExporter()
        provider = TracerProvider(resource=RESOURCE, id_generator=_Ids(trace_id), shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._memory))
        tracer = provider.get_tracer("sluice")
        super().__init__(tracer.start_span("POST /v1/chat/completions"), tracer, contents=contents)

    def spans(self, facts: ProcessFacts, dialects: Iterable[Dialect] = ()) -> Sequence[ReadableSpan]:
        """Ends the trace; in the order in which they ended."""
        self.end()
        end_spans(self, facts, dialects)
        return self._memory.get_finished_spans()

    def attributes_by_step(self, facts: ProcessFacts, dialects: Iterable[Dialect] = ()) -> dict[str, Mapping[str, Any]]:
        """Those of each span, by the first word of its name."""
        return {span.name.split()[0]: span.attributes or {} for span in self.spans(facts, dialects)}


class _Ids(RandomIdGenerator):
    def __init__(self, trace_id: str | None) -> None:
        self._trace_id = trace_id

    def generate_trace_id(self) -> int:
        return int(self._trace_id, 16) if self._trace_id else super().generate_trace_id()


def json_lines(spans: Sequence[ReadableSpan]) -> bytes:
    stream = io.StringIO()
    FileSpanExporter(stream=stream).export(spans)
    return stream.getvalue().encode()


def spooled(folder: Path) -> list[Any]:
    """The spans in the files of a spool, in the order in which they began, read by OpenTelemetry's own classes."""
    lines = [line for path in sorted(folder.glob("*.jsonl")) for line in path.read_bytes().splitlines()]
    parts = [part for line in lines for part in ExportTraceServiceRequest.from_json(line).resource_spans]
    spans = [span for part in parts for scope in part.scope_spans for span in scope.spans]
    return sorted(spans, key=lambda span: span.start_time_unix_nano)


def feedback_on(trace_id: str, score: float, comment: str = "", tenant: str | None = None) -> Feedback:
    return Feedback(
        time="2026-01-05T12:00:00.000+00:00",
        release="r-0123456789ab",
        trace_id=trace_id,
        score=float(score),
        comment=comment,
        key=None,
        tenant=tenant,
    )
