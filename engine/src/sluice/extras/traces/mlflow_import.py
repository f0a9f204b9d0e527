"""Imports .sluice/traces/ into MLflow: spans as traces, scores as assessments. Loading a file twice does no harm."""

from __future__ import annotations

import base64
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opentelemetry.semconv._incubating.attributes import gen_ai_attributes as gen_ai

from sluice.core.errors import SluiceError
from sluice.core.tracking import open_tracking, store_uri, tracking_uri
from sluice.core.workspace import Workspace
from sluice.serving.telemetry.export_queue import OPEN_FILE, locked
from sluice.serving.telemetry.telemetry import FEEDBACK, TENANT

if TYPE_CHECKING:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


def _waiting(folder: Path) -> list[Path]:
    """Return the files to load, oldest first; services no longer write to them."""
    if not folder.is_dir():
        return []
    with locked(folder):
        if (folder / OPEN_FILE).exists():
            (folder / OPEN_FILE).rename(folder / f"{time.time_ns()}.jsonl")
    return sorted(folder.glob("*.jsonl"))


def parse_json_line(line: bytes) -> ExportTraceServiceRequest:
    """Parse a line of OTLP. Raises ValueError."""
    from google.protobuf.json_format import ParseDict, ParseError
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    document, request = json.loads(line), ExportTraceServiceRequest()
    try:
        for span in (s for r in document["resourceSpans"] for scope in r["scopeSpans"] for s in scope["spans"]):
            # Protobuf's JSON wants bytes as base64, OTLP's has ids in hexadecimal.
            for key in ("traceId", "spanId", "parentSpanId"):
                span[key] = base64.b64encode(bytes.fromhex(span.get(key, ""))).decode()
        ParseDict(document, request, ignore_unknown_fields=True)
    except (KeyError, TypeError, AttributeError, ParseError) as error:
        raise ValueError(f"not a line of OTLP: {error}") from None
    return request


@dataclass
class TraceImport:
    """`broken` counts lines that aren't OTLP, `orphans` scores of unknown traces."""

    files: int = 0
    traces: int = 0
    scores: int = 0
    broken: int = 0
    orphans: int = 0


def push(workspace: Workspace, experiment: str) -> TraceImport:
    """Load every file of .sluice/traces/, one process at a time."""
    done = TraceImport()
    folder = workspace.state / "traces"
    if not any(folder.glob("*.jsonl")):
        return done
    with workspace.exclusive("traces push"):
        experiment_id = open_tracking(workspace, experiment).experiment
        from mlflow.exceptions import MlflowException
        from mlflow.tracing.client import TracingClient
        from sqlalchemy.exc import SQLAlchemyError

        uri = tracking_uri(workspace)
        if uri == store_uri(workspace):  # as the files they come from: traces may hold what people wrote
            Path(uri.removeprefix("sqlite:///")).chmod(0o600)
        try:
            for path in _waiting(folder):
                _push_file(path, TracingClient(uri), experiment_id, done)
                path.unlink()
                done.files += 1
        except (MlflowException, SQLAlchemyError) as error:
            raise SluiceError(
                f"{uri}: MLflow does not take the traces: {str(error).splitlines()[0]}",
                remedy="free some space or move the store away; nothing was lost, run it again",
            ) from error
    return done


def _push_file(path: Path, client: Any, experiment_id: str, done: TraceImport) -> None:
    from mlflow.entities.span import Span

    scores: list[Any] = []
    traces: set[bytes] = set()
    with path.open("rb") as lines:
        for line in lines:
            try:
                parts = parse_json_line(line).resource_spans
            except ValueError:
                done.broken += 1
                continue
            spans = [(span, part.resource) for part in parts for scope in part.scope_spans for span in scope.spans]
            scores += [span for span, _ in spans if span.name == FEEDBACK]
            traced = [(span, resource) for span, resource in spans if span.name != FEEDBACK]
            traces |= {span.trace_id for span, _ in traced}
            if traced:
                made = [Span.from_otel_proto(span, resource=resource) for span, resource in traced]
                client.log_spans(experiment_id, made)
    done.traces += len(traces)
    for score in scores:
        known = _assess(client, score)
        done.scores += known
        done.orphans += not known


def _assess(client: Any, span: Any) -> bool:
    """Store a score once. Returns False if its trace is unknown."""
    from mlflow.entities import AssessmentSource, Feedback
    from mlflow.exceptions import MlflowException

    seen = {attribute.key: attribute.value for attribute in span.attributes}
    trace_id, score_id = f"tr-{span.trace_id.hex()}", span.span_id.hex()
    try:
        there = client.get_trace_info(trace_id).assessments
    except MlflowException:
        return False
    if any((assessment.metadata or {}).get("score_id") == score_id for assessment in there):
        return True
    comment = seen.get(gen_ai.GEN_AI_EVALUATION_EXPLANATION)
    assessment = Feedback(
        name=seen[gen_ai.GEN_AI_EVALUATION_NAME].string_value,
        value=seen[gen_ai.GEN_AI_EVALUATION_SCORE_VALUE].double_value,
        rationale=comment.string_value if comment else None,
        source=AssessmentSource(source_type="HUMAN", source_id=seen[TENANT].string_value),
        metadata={"score_id": score_id},
        create_time_ms=span.start_time_unix_nano // 1_000_000,
    )
    client.log_assessment(trace_id, assessment)
    return True
