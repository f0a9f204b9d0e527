"""Imports the files under .sluice/traces/ into an MLflow store: spans as traces, scores as assessments.

Runs in a process of its own (`sluice traces push`): MLflow takes seconds to import and 200 MiB. A file is deleted after
it is stored. Loading a file twice does no harm: spans are identified by their ids.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes as gen_ai

from sluice.core.errors import SluiceError
from sluice.serving.telemetry.otlp_encoding import parse_json_line
from sluice.serving.telemetry.spans import FEEDBACK, TENANT
from sluice.serving.telemetry.spool import waiting

_BATCH = 200  # traces in one transaction
_log = logging.getLogger(__name__)


@dataclass
class TraceImport:
    """`broken`: lines that are not OTLP. `orphans`: scores of traces that are not in the store."""

    files: int = 0
    traces: int = 0
    scores: int = 0
    broken: int = 0
    orphans: int = 0


def push(folder: Path, tracking_uri: str, *, experiment: str, artifacts: Path) -> TraceImport:
    """Loads every whole file of `folder`. `artifacts`: where a new experiment keeps its files.

    SluiceError when the store does not take them; files that are not loaded then stay.
    """
    done = TraceImport()
    if not folder.is_dir() or not waiting(folder):
        return done
    with _alone(folder):
        store = _TrackingStore(tracking_uri, experiment, artifacts)
        for path in waiting(folder):
            _push_file(path, store, done)
            path.unlink()
            done.files += 1
    return done


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One at a time: a second one waits, and then finds nothing left to do."""
    with (folder.parent / "traces.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _push_file(path: Path, store: _TrackingStore, done: TraceImport) -> None:
    spans: list[Any] = []
    scores: list[Any] = []
    with path.open("rb") as lines:
        for line in lines:
            try:
                request = parse_json_line(line)
            except ValueError:
                done.broken += 1
                continue
            traced, scored = _sorted(request)
            spans += traced
            scores += scored
            done.traces += bool(traced)
            if len(spans) >= 6 * _BATCH:
                store.log(spans)
                spans = []
    if spans:
        store.log(spans)
    for score in scores:
        if store.assess(score):
            done.scores += 1
        else:
            done.orphans += 1


def _sorted(request: ExportTraceServiceRequest) -> tuple[list[Any], list[Any]]:
    """Spans as (span, resource), and the spans that are scores."""
    spans: list[Any] = []
    scores: list[Any] = []
    for resource_spans in request.resource_spans:
        for scope in resource_spans.scope_spans:
            for span in scope.spans:
                if span.name == FEEDBACK:
                    scores.append(span)
                else:
                    spans.append((span, resource_spans.resource))
    return spans, scores


class _TrackingStore:
    """MLflow's tracking store on SQLite, opened directly: a server would take 15 s and 540 MiB."""

    def __init__(self, uri: str, experiment: str, artifacts: Path) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # MLflow asks litellm for prices
        logging.getLogger("alembic").setLevel(logging.WARNING)
        from mlflow.exceptions import MlflowException
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
        from sqlalchemy.exc import SQLAlchemyError

        self._errors: tuple[type[Exception], ...] = (MlflowException, SQLAlchemyError)
        self._uri = uri
        try:
            self._store = SqlAlchemyStore(uri, artifacts.as_uri())
            found = self._store.get_experiment_by_name(experiment)
            self._experiment_id = found.experiment_id if found else self._store.create_experiment(experiment)
        except self._errors as error:
            raise self._failed(error) from error

    def log(self, spans: list[Any]) -> None:
        from mlflow.entities.span import Span

        made = [Span.from_otel_proto(span, resource=resource) for span, resource in spans]
        try:
            self._store.log_spans(self._experiment_id, made)
        except self._errors as error:
            raise self._failed(error) from error

    def assess(self, span: Any) -> bool:
        """False when the trace is not in the store. A score that is there already is not stored again."""
        from mlflow.entities import AssessmentSource, Feedback

        seen = {attribute.key: attribute.value for attribute in span.attributes}
        trace_id, score_id = f"tr-{span.trace_id.hex()}", span.span_id.hex()
        try:
            there = self._store.get_trace_info(trace_id).assessments
        except self._errors:
            return False
        if any((assessment.metadata or {}).get("score_id") == score_id for assessment in there):
            return True
        comment = seen.get(gen_ai.GEN_AI_EVALUATION_EXPLANATION)
        assessment = Feedback(
            trace_id=trace_id,
            name=seen[gen_ai.GEN_AI_EVALUATION_NAME].string_value,
            value=seen[gen_ai.GEN_AI_EVALUATION_SCORE_VALUE].double_value,
            rationale=comment.string_value if comment else None,
            source=AssessmentSource(source_type="HUMAN", source_id=seen[TENANT].string_value),
            metadata={"score_id": score_id},
            create_time_ms=span.start_time_unix_nano // 1_000_000,
        )
        try:
            self._store.create_assessment(assessment)
        except self._errors as error:
            raise self._failed(error) from error
        return True

    def _failed(self, error: Exception) -> SluiceError:
        return SluiceError(
            f"{self._uri}: MLflow does not take the traces: {str(error).splitlines()[0]}",
            remedy="free some space or move the store away; nothing was lost, run it again",
        )
