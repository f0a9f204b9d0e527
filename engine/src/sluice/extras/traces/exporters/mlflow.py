"""MLflow: a tracking server by OTLP, or files for later. Importing it would double the service's memory
(engine/docs/decisions/traces-to-mlflow.md)."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from opentelemetry.exporter.otlp.json.file.trace_exporter import FileSpanExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes as gen_ai
from opentelemetry.semconv.attributes import http_attributes
from opentelemetry.trace import format_span_id, format_trace_id

from sluice.extras.traces.exporters.otlp import ScoringExporter
from sluice.serving.telemetry.export_queue import OPEN_FILE, SpansLostError, TraceExporter, append_whole, locked
from sluice.serving.telemetry.settings import TraceSettings
from sluice.serving.telemetry.telemetry import PROMPT_DIGEST, RELEASE, TENANT
from sluice.serving.telemetry.traces import Value

_EXPERIMENT = "x-mlflow-experiment-id"


def open_exporter(settings: TraceSettings, state: Path) -> TraceExporter:
    if settings.mlflow.tracking_uri:
        return ServerExporter(settings)
    return SpoolExporter(state / "traces", most_bytes=settings.mlflow.spool_mib << 20)


class _TraceTags(TraceExporter):
    def dialect(self, attributes: Mapping[str, Value]) -> Mapping[str, Value]:
        """MLflow makes tags of a trace of those on its root span; the lists of traces can be filtered by them."""
        if http_attributes.HTTP_ROUTE not in attributes:
            return {}
        tags = {"release": RELEASE, "tenant": TENANT, "prompt": PROMPT_DIGEST}
        return {f"mlflow.traceTag.{tag}": attributes[source] for tag, source in tags.items()}


class SpoolExporter(_TraceTags):
    def __init__(self, folder: Path, *, most_bytes: int) -> None:
        self._folder, self._most = folder, most_bytes

    def send(self, spans: Sequence[ReadableSpan]) -> None:
        lines = io.StringIO()
        if FileSpanExporter(stream=lines).export(spans) is SpanExportResult.FAILURE:
            raise SpansLostError("failed", "the spans have no form in JSON")
        self.append(lines.getvalue().encode())

    def append(self, lines: bytes) -> None:
        """Append all lines or none."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with locked(self._folder):
                if sum(path.stat().st_size for path in self._folder.iterdir()) + len(lines) > self._most:
                    raise SpansLostError(
                        "spool_full", f"{self._folder} holds {self._most >> 20} MiB: load its files or delete them"
                    )
                append_whole(self._folder / OPEN_FILE, lines)
        except OSError as error:
            raise SpansLostError("disk", f"{self._folder}: {error.strerror or error}") from None


class ServerExporter(_TraceTags, ScoringExporter):
    """The experiment is looked up by name with the first batch, and made if it is missing."""

    def __init__(self, settings: TraceSettings) -> None:
        token = os.environ.get("MLFLOW_TRACKING_TOKEN")
        user, word = os.environ.get("MLFLOW_TRACKING_USERNAME"), os.environ.get("MLFLOW_TRACKING_PASSWORD")
        headers = {"authorization": f"Bearer {token}"} if token else {}
        login = (user, word) if user and word and not token else None
        super().__init__(
            settings.mlflow.tracking_uri.rstrip("/"), "/v1/traces", headers, settings.timeout_seconds, login
        )
        self._experiment = settings.mlflow.experiment

    def send(self, spans: Sequence[ReadableSpan]) -> None:
        if _EXPERIMENT not in self.session.headers:
            self.session.headers[_EXPERIMENT] = self._find_experiment()
        super().send(spans)

    def score_of(self, span: ReadableSpan, given: Mapping[str, Any]) -> tuple[str, Any]:
        trace_id = f"tr-{format_trace_id(span.context.trace_id)}"
        assessment = {
            "assessment_name": given[gen_ai.GEN_AI_EVALUATION_NAME],
            "trace_id": trace_id,
            "source": {"source_type": "HUMAN", "source_id": given[TENANT]},
            "feedback": {"value": given[gen_ai.GEN_AI_EVALUATION_SCORE_VALUE]},
            "metadata": {"score_id": format_span_id(span.context.span_id)},
        }
        if comment := given.get(gen_ai.GEN_AI_EVALUATION_EXPLANATION):
            assessment["rationale"] = comment
        return f"/api/3.0/mlflow/traces/{trace_id}/assessments", {"assessment": assessment}

    def _find_experiment(self) -> str:
        root, name = "/api/2.0/mlflow/experiments", quote(self._experiment, safe="")
        if found := self.call("GET", f"{root}/get-by-name?experiment_name={name}", missing=True):
            return str(found["experiment"]["experiment_id"])
        return str(self.call("POST", f"{root}/create", {"name": self._experiment})["experiment_id"])
