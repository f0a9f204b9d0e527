"""MLflow: a tracking server by its OTLP endpoint, or files that `sluice traces push` loads into this machine's store.

MLflow itself is not imported here: it would double the memory of the service
(engine/docs/decisions/traces-to-mlflow.md).
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sluice.guardrails.redaction import redact
from sluice.serving.telemetry.background_queue import BatchLostError
from sluice.serving.telemetry.exporters.otlp import OtlpExporter
from sluice.serving.telemetry.spans import (
    PROMPT_DIGEST,
    RELEASE,
    TENANT,
    FeedbackScore,
    ProcessFacts,
    Span,
    feedback_span,
    spans_of,
)
from sluice.serving.telemetry.spool import TraceSpool
from sluice.serving.telemetry.traces import GUARD_INPUT, GUARD_OUTPUT, GUARD_PASSAGES, RETRIEVE, Trace

if TYPE_CHECKING:
    from sluice.serving.telemetry.settings import TraceSettings

_TYPES = {
    "request": "CHAIN",
    GUARD_INPUT: "GUARDRAIL",
    GUARD_PASSAGES: "GUARDRAIL",
    GUARD_OUTPUT: "GUARDRAIL",
    RETRIEVE: "RETRIEVER",
}
# MLflow makes tags of a trace from these attributes of its root span; the lists of traces can be filtered by them.
_TAGS = {"release": RELEASE, "tenant": TENANT, "prompt": PROMPT_DIGEST}


def open_exporter(settings: TraceSettings, facts: ProcessFacts, state: Path) -> SpoolExporter | ServerExporter:
    if settings.mlflow.tracking_uri:
        return ServerExporter(settings, facts)
    return SpoolExporter(TraceSpool(state / "traces", most_bytes=settings.mlflow.spool_mib << 20), facts)


def dialect(span: Span) -> None:
    """MLflow's own names, where those of OpenTelemetry do not say it."""
    if kind := _TYPES.get(span.step):
        span.attributes["mlflow.spanType"] = kind
    if span.step == "request":
        for tag, source in _TAGS.items():
            span.attributes[f"mlflow.traceTag.{tag}"] = span.attributes[source]


class SpoolExporter:
    """One line of OTLP's JSON for each trace and each score."""

    def __init__(self, spool: TraceSpool, facts: ProcessFacts) -> None:
        self._spool = spool
        self._facts = facts

    def deliver(self, items: Sequence[Trace | FeedbackScore]) -> None:
        from sluice.serving.telemetry.otlp_encoding import json_line

        lines = []
        for item in items:
            if isinstance(item, Trace):
                spans = spans_of(item, self._facts, dialect)
            else:
                spans = [feedback_span(item, self._facts)]
            lines.append(json_line(item.trace_id, spans, self._facts.release))
        self._spool.write(lines)

    def idle(self) -> None:
        with contextlib.suppress(OSError):
            self._spool.age()

    def close(self) -> None:
        self._spool.close()


class ServerExporter:
    """`experiment` is looked up by name with the first batch, and made when it is missing."""

    def __init__(self, settings: TraceSettings, facts: ProcessFacts) -> None:
        self._base = settings.mlflow.tracking_uri.rstrip("/")
        self._experiment = settings.mlflow.experiment
        self._experiment_id = ""
        endpoint = f"{self._base}/v1/traces"
        self._otlp = OtlpExporter(endpoint, _credentials(), settings.timeout_seconds, facts, dialect)
        self._facts = facts

    def deliver(self, items: Sequence[Trace | FeedbackScore]) -> None:
        self._experiment_id = self._experiment_id or self._find_experiment()
        traces = [(i.trace_id, spans_of(i, self._facts, dialect)) for i in items if isinstance(i, Trace)]
        if traces:
            self._otlp.send(traces, {"x-mlflow-experiment-id": self._experiment_id})
        for item in items:
            if isinstance(item, FeedbackScore):
                self._assess(item)

    def idle(self) -> None:
        """Nothing to do between batches."""

    def close(self) -> None:
        self._otlp.close()

    def _find_experiment(self) -> str:
        root = f"{self._base}/api/2.0/mlflow/experiments"
        found = self._call(
            "GET", f"{root}/get-by-name?experiment_name={quote(self._experiment, safe='')}", missing=True
        )
        if found:
            return str(found["experiment"]["experiment_id"])
        return str(self._call("POST", f"{root}/create", {"name": self._experiment})["experiment_id"])

    def _assess(self, score: FeedbackScore) -> None:
        assessment: dict[str, Any] = {
            "assessment_name": score.name,
            "trace_id": f"tr-{score.trace_id}",
            "source": {"source_type": "HUMAN", "source_id": score.tenant or "default"},
            "feedback": {"value": score.value},
            "metadata": {"score_id": score.id},
        }
        if score.comment:
            assessment["rationale"] = redact(score.comment)
        url = f"{self._base}/api/3.0/mlflow/traces/tr-{score.trace_id}/assessments"
        self._call("POST", url, {"assessment": assessment})

    def _call(self, method: str, url: str, body: Any = None, *, missing: bool = False) -> Any:
        """The parsed answer; None for a 404 where `missing` allows it."""
        content = b"" if body is None else json.dumps(body).encode()
        allowed = frozenset({404} if missing else ())
        status, _, reply = self._otlp.poster.send(method, url, content, allowed=allowed)
        try:
            return None if status == 404 else json.loads(reply)
        except ValueError:
            raise BatchLostError("garbage", f"{url}: the answer is not JSON") from None


def _credentials() -> dict[str, str]:
    """As MLflow's own client reads them."""
    if token := os.environ.get("MLFLOW_TRACKING_TOKEN"):
        return {"authorization": f"Bearer {token}"}
    user, word = os.environ.get("MLFLOW_TRACKING_USERNAME"), os.environ.get("MLFLOW_TRACKING_PASSWORD")
    if user and word:
        return {"authorization": "Basic " + base64.b64encode(f"{user}:{word}".encode()).decode()}
    return {}
