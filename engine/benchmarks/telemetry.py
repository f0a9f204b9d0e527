"""What telemetry costs a request: without it, sampled out, and with each way of export.

    .venv/bin/python engine/benchmarks/telemetry.py

Records the six spans of an answered question, hands them over as the service does, and waits until the exporter's
thread has made bytes of them, so that its time is counted too: on one core it is the request's. Nothing is sent: the
network and the collector are left out, the disk of the spool is not. The SDK of OpenTelemetry does the same work
beside it, with its batch processor and its own encoder. Prints a table in Markdown, microseconds a request, the best of
five runs; and what importing costs.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sluice.guardrails.guards import GuardOutcome
from sluice.retrieval import Hit
from sluice.serving.answer import Answer, Usage
from sluice.serving.service_metrics import ServiceMetrics
from sluice.serving.telemetry import traces
from sluice.serving.telemetry.exporters.langfuse import LangfuseExporter
from sluice.serving.telemetry.exporters.mlflow import SpoolExporter
from sluice.serving.telemetry.exporters.otlp import OtlpExporter
from sluice.serving.telemetry.settings import TelemetrySettings
from sluice.serving.telemetry.spans import ProcessFacts
from sluice.serving.telemetry.spool import TraceSpool
from sluice.serving.telemetry.telemetry import Telemetry
from sluice.serving.telemetry.trace_outcome import record

REQUESTS = 2000
FACTS = ProcessFacts("r-0123456789ab", "answer", "0123456789abcdef" * 4)
HITS = [Hit(f"doc{n}-0", f"doc{n}", "Chunking", "Neighbouring chunks share 64 tokens.", 0.03, 0.8) for n in range(3)]
PASSED = GuardOutcome("text", False, ())
ANSWER = Answer("64 tokens", False, None, (), tuple(HITS), Usage(812, 17), "stop", 12.5, 80.0)
SCOPE: dict[str, Any] = {"headers": [(b"host", b"x"), (b"content-type", b"application/json"), (b"accept", b"*/*")]}
QUESTION = "How much overlap should neighbouring chunks have, and why? My address is someone@example.org."


def request(telemetry: Telemetry, metrics: ServiceMetrics | None) -> None:
    """The calls that the service makes for one answered question."""
    trace = telemetry.begin(SCOPE)
    token = traces.enter(trace)
    trace.route = "/v1/chat/completions"
    seen = traces.current_trace()
    seen.text("input", [{"role": "user", "content": QUESTION}])
    with seen.step(traces.GUARD_INPUT) as step:
        step.verdict(PASSED)
    with seen.step(traces.RETRIEVE) as step:
        step.text("query", QUESTION)
        step.hits(HITS)
    with seen.step(traces.CHAT):
        with seen.step(traces.PROMPT) as step:
            step.text("input", [{"role": "user", "content": QUESTION}])
        with seen.step(traces.GUARD_OUTPUT) as step:
            step.verdict(PASSED)
    record(seen, ANSWER, "SmolLM2-135M-Instruct")
    traces.leave(token)
    if metrics:
        metrics.request(trace.route, 200, 0.08)
        metrics.answer(ANSWER)
        metrics.trace(trace)
    telemetry.finish(trace, 200, chat=True)


def settings(ratio: float, *, contents: bool = False) -> TelemetrySettings:
    return TelemetrySettings.model_validate(
        {
            "traces": {
                "exporters": "none",
                "ratio": ratio,
                "contents": contents,
                "queue": 100_000,
                "timeout_seconds": 1,
                "flush_seconds": 60,
            },
            "logs": {"level": "warning", "format": "json", "access": False},
        }
    )


class Unsent:
    """Takes what an exporter would send."""

    def send(self, *_: Any, **__: Any) -> tuple[int, str, bytes]:
        return 200, "", b""

    def close(self) -> None:
        """Nothing is open."""


def timed(make: Callable[[], Telemetry], metrics: ServiceMetrics | None = None) -> float:
    """Microseconds a request, the exporter's thread included."""
    best = float("inf")
    for _ in range(5):
        telemetry = make()
        began = time.process_time()
        for _ in range(REQUESTS):
            request(telemetry, metrics)
        telemetry.close()
        best = min(best, (time.process_time() - began) / REQUESTS * 1e6)
    return best


def with_sdk() -> float:
    """The same spans and attributes through the SDK."""
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

    class Encoding(SpanExporter):
        def export(self, spans: Any) -> SpanExportResult:
            encode_spans(spans).SerializePartialToString()
            return SpanExportResult.SUCCESS

    kept: list[Any] = []
    telemetry = Telemetry(settings(1), FACTS, {"kept": Keeping(kept)})
    request(telemetry, None)
    telemetry.close()
    spans = otlp_spans(kept[0])
    best = float("inf")
    for _ in range(5):
        provider = TracerProvider(resource=Resource({"service.name": "sluice"}), shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(Encoding(), max_queue_size=100_000))
        tracer = provider.get_tracer("sluice")
        began = time.process_time()
        for _ in range(REQUESTS):
            root = tracer.start_span(spans[0].name)
            context = trace.set_span_in_context(root)
            for span in spans[1:]:
                child = tracer.start_span(span.name, context)
                child.set_attributes(span.attributes)
                child.end()
            root.set_attributes(spans[0].attributes)
            root.end()
        provider.shutdown()
        best = min(best, (time.process_time() - began) / REQUESTS * 1e6)
    return best


class Keeping:
    """An exporter that keeps what it gets."""

    def __init__(self, kept: list[Any]) -> None:
        self._kept = kept

    def deliver(self, items: Any) -> None:
        self._kept += items

    def idle(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing is open."""


def otlp_spans(trace: traces.Trace) -> list[Any]:
    from sluice.serving.telemetry.spans import spans_of

    return spans_of(trace, FACTS)


def collector(*, contents: bool = False) -> Telemetry:
    exporter = OtlpExporter("http://127.0.0.1:1/v1/traces", {}, 1, FACTS)
    exporter.poster = Unsent()  # type: ignore[assignment]
    return Telemetry(settings(1, contents=contents), FACTS, {"otlp": exporter})


def langfuse() -> Telemetry:
    exporter = LangfuseExporter("http://127.0.0.1:1", "public", "none", settings(1).traces, FACTS)
    exporter._otlp.poster = Unsent()  # type: ignore[assignment]
    return Telemetry(settings(1), FACTS, {"langfuse": exporter})


def imported(statement: str) -> tuple[float, float]:
    """Seconds and MiB of resident memory of a fresh process that runs `statement`, less those of a bare one."""
    code = (
        "import time; began = time.perf_counter(); {}\n"
        "print(time.perf_counter() - began, int(open('/proc/self/statm').read().split()[1]) * 4 / 1024)"
    )

    def run(what: str) -> list[float]:
        done = subprocess.run([sys.executable, "-c", code.format(what)], capture_output=True, text=True, check=True)
        return [float(figure) for figure in done.stdout.split()]

    bare, full = run("pass"), run(statement)
    return full[0] - bare[0], full[1] - bare[1]


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        none = timed(lambda: Telemetry(settings(0), FACTS, {}))
        ways = {
            "record of the request alone: no exporter, or sampled out": none,
            "the same with metrics": timed(
                lambda: Telemetry(settings(0), FACTS, {}), ServiceMetrics("r-0123456789ab", lambda: 0)
            ),
            "files for `sluice traces push` (mlflow, the default)": timed(
                lambda: Telemetry(
                    settings(1), FACTS, {"mlflow": SpoolExporter(TraceSpool(Path(folder), most_bytes=1 << 30), FACTS)}
                )
            ),
            "OTLP to a collector": timed(collector),
            "OTLP to Langfuse": timed(langfuse),
            "OTLP to a collector, contents on": timed(lambda: collector(contents=True)),
            "OpenTelemetry's SDK and encoder, the same spans": with_sdk(),
        }
    print("| telemetry | microseconds a request |\n|---|---|")
    for name, cost in ways.items():
        print(f"| {name} | {cost:.0f} |")
    print("\n| import | seconds | MiB |\n|---|---|---|")
    for name, statement in (
        (
            "this telemetry, all exporters",
            "import sluice.serving.telemetry.exporters.langfuse, sluice.serving.telemetry.spool",
        ),
        ("OpenTelemetry's SDK and exporter", "import opentelemetry.exporter.otlp.proto.http.trace_exporter"),
        ("MLflow's tracing", "import mlflow.tracing"),
        ("MLflow's store", "from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore"),
    ):
        seconds, mib = imported(statement)
        print(f"| {name} | {seconds:.1f} | {mib:.0f} |")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
