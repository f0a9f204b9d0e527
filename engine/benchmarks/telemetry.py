"""What telemetry costs a request: without it, sampled out, and with each way of export.

    .venv/bin/python engine/benchmarks/telemetry.py

Records the six spans of an answered question, hands them over as the service does, and waits until the exporter's
thread has made bytes of them, so that its time is counted too: on one core it is the request's. Nothing is sent: the
network and the collector are left out, the disk of the spool is not. Prints a table in Markdown, microseconds a
request, the best of five runs; and what importing costs.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests
from requests.adapters import BaseAdapter

from sluice.extras.traces.exporters.langfuse import LangfuseExporter
from sluice.extras.traces.exporters.mlflow import SpoolExporter
from sluice.extras.traces.exporters.otlp import OtlpExporter
from sluice.guardrails.check import GuardOutcome
from sluice.llm.chat import Delta
from sluice.retrieval import Hit
from sluice.serving.answer import Answer, Usage
from sluice.serving.service_metrics import ServiceMetrics
from sluice.serving.telemetry import traces
from sluice.serving.telemetry.export_queue import TraceExporter
from sluice.serving.telemetry.settings import TelemetrySettings
from sluice.serving.telemetry.telemetry import ProcessFacts, Telemetry
from sluice.serving.telemetry.traces import record

REQUESTS = 2000
FACTS = ProcessFacts("r-0123456789ab", "answer", "0123456789abcdef" * 4)
HITS = [Hit(f"doc{n}-0", f"doc{n}", "Chunking", "Neighbouring chunks share 64 tokens.", 0.03, 0.8) for n in range(3)]
PASSED = GuardOutcome("text", False, ())
ANSWER = Answer("64 tokens", False, None, (), tuple(HITS), Usage(812, 17), "stop", 12.5, 80.0)
SAID = Delta(finish_reason="stop", usage=Usage(812, 17), model="SmolLM2-135M-Instruct")
SCOPE: dict[str, Any] = {
    "path": "/v1/chat/completions",
    "headers": [(b"host", b"x"), (b"content-type", b"application/json"), (b"accept", b"*/*")],
}
QUESTION = "How much overlap should neighbouring chunks have, and why? My address is someone@example.org."


def request(telemetry: Telemetry, metrics: ServiceMetrics | None) -> None:
    """The calls that the service makes for one answered question."""
    trace = telemetry.begin(SCOPE, chat=True)
    token = traces.CURRENT.set(trace)
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
    record(seen, ANSWER, SAID, "SmolLM2-135M-Instruct")
    traces.CURRENT.reset(token)
    if metrics:
        metrics.request(trace.route, 200, 0.08)
        metrics.answer(ANSWER)
        metrics.trace(trace)
    telemetry.finish(trace, 200)


def settings(*, contents: bool = False) -> TelemetrySettings:
    return TelemetrySettings.model_validate(
        {
            "traces": {"exporters": "none", "ratio": 1, "contents": contents, "queue": 100_000, "flush_seconds": 30},
            "logs": {"level": "warning", "format": "json", "access": False},
        }
    )


class Unsent(BaseAdapter):
    """Takes what a session would send."""

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        reply = requests.Response()
        reply.status_code, reply.url, reply.request = 200, request.url or "", request
        reply._content = b""
        return reply

    def close(self) -> None:
        """Nothing is open."""


def _refuse(exporter: str, reason: str, count: int) -> None:
    raise SystemExit(f"{exporter} lost {count}: {reason}")


def timed(make: Callable[[], Telemetry], metrics: ServiceMetrics | None = None) -> float:
    """Microseconds a request, the exporter's thread included."""
    best = float("inf")
    for _ in range(5):
        telemetry = make()
        telemetry.on_lost = _refuse
        began = time.process_time()
        for _ in range(REQUESTS):
            request(telemetry, metrics)
        telemetry.close()
        best = min(best, (time.process_time() - began) / REQUESTS * 1e6)
    return best


def traced(name: str, exporter: TraceExporter, *, contents: bool = False) -> Telemetry:
    if isinstance(exporter, OtlpExporter):
        exporter.session.mount("http://127.0.0.1:1", Unsent())
        exporter.session.adapters.move_to_end("http://127.0.0.1:1", last=False)  # type: ignore[attr-defined]
    return Telemetry(settings(contents=contents), FACTS, {name: exporter})


def collector(*, contents: bool = False) -> Telemetry:
    return traced("otlp", OtlpExporter("http://127.0.0.1:1/v1/traces", {}, 1), contents=contents)


def langfuse() -> Telemetry:
    return traced("langfuse", LangfuseExporter("http://127.0.0.1:1", ("public", "none"), settings().traces))


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
        ways = {
            "record of the request alone: no exporter, or sampled out": timed(lambda: Telemetry(settings(), FACTS, {})),
            "the same with metrics": timed(
                lambda: Telemetry(settings(), FACTS, {}), ServiceMetrics("r-0123456789ab", lambda: 0)
            ),
            "files under .sluice/traces/ (mlflow)": timed(
                lambda: traced("mlflow", SpoolExporter(Path(folder) / "traces", most_bytes=1 << 30))
            ),
            "OTLP to a collector": timed(collector),
            "OTLP to Langfuse": timed(langfuse),
            "OTLP to a collector, contents on": timed(lambda: collector(contents=True)),
        }
    print("| telemetry | microseconds a request |\n|---|---|")
    for name, cost in ways.items():
        print(f"| {name} | {cost:.0f} |")
    print("\n| import | seconds | MiB |\n|---|---|---|")
    for name, statement in (
        (
            "this telemetry, all exporters",
            "import sluice.extras.traces.exporters.langfuse, sluice.extras.traces.exporters.mlflow",
        ),
        ("OpenTelemetry's SDK and exporter", "import opentelemetry.exporter.otlp.proto.http.trace_exporter"),
        ("MLflow's tracing", "import mlflow.tracing"),
        ("MLflow's client of traces", "from mlflow.tracing.client import TracingClient"),
    ):
        seconds, mib = imported(statement)
        print(f"| {name} | {seconds:.1f} | {mib:.0f} |")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
