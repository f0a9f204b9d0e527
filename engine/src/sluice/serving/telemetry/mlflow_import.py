"""Imports the files under .sluice/traces/ into MLflow's store: spans as traces, scores as assessments.

Runs in a process of its own (`sluice traces push`): MLflow takes seconds to import and 200 MiB. A file is deleted after
it is stored. Loading a file twice does no harm: spans are identified by their ids.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opentelemetry.semconv._incubating.attributes import gen_ai_attributes as gen_ai

from sluice.core.errors import SluiceError
from sluice.core.tracking import open_tracking, tracking_uri
from sluice.core.workspace import Workspace
from sluice.serving.telemetry.spans import FEEDBACK, TENANT
from sluice.serving.telemetry.spool import parse_json_line, waiting


@dataclass
class TraceImport:
    """`broken`: lines that are not OTLP. `orphans`: scores of traces that are not in the store."""

    files: int = 0
    traces: int = 0
    scores: int = 0
    broken: int = 0
    orphans: int = 0


def push(workspace: Workspace, experiment: str) -> TraceImport:
    """Loads every file of the checkout's .sluice/traces/, one process at a time.

    Args:
        workspace: the checkout; MLflow's store is that of its runs.
        experiment: name of the experiment that holds the traces.

    Raises:
        SluiceError: the store does not take them; files that are not loaded then stay.
    """
    done = TraceImport()
    folder = workspace.state / "traces"
    if not folder.is_dir() or not any(folder.glob("*.jsonl")):
        return done
    with workspace.exclusive("traces push"), _told(workspace):
        from mlflow.tracing.client import TracingClient

        experiment_id = open_tracking(workspace, experiment).experiment
        client = TracingClient(tracking_uri(workspace))
        for path in waiting(folder):
            seen = _push_file(path, client, experiment_id, done)
            done.traces += len(seen)
            path.unlink()
            done.files += 1
    return done


@contextmanager
def _told(workspace: Workspace) -> Iterator[None]:
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError) as error:
        raise SluiceError(
            f"{tracking_uri(workspace)}: MLflow does not take the traces: {str(error).splitlines()[0]}",
            remedy="free some space or move the store away; nothing was lost, run it again",
        ) from error


def _push_file(path: Path, client: Any, experiment_id: str, done: TraceImport) -> set[bytes]:
    """The ids of its traces."""
    from mlflow.entities.span import Span

    scores: list[Any] = []
    seen: set[bytes] = set()
    with path.open("rb") as lines:
        for line in lines:
            try:
                request = parse_json_line(line)
            except ValueError:
                done.broken += 1
                continue
            spans = [
                (span, resource.resource)
                for resource in request.resource_spans
                for scope in resource.scope_spans
                for span in scope.spans
            ]
            scores += [span for span, _ in spans if span.name == FEEDBACK]
            traced = [Span.from_otel_proto(span, resource=of) for span, of in spans if span.name != FEEDBACK]
            seen |= {span.trace_id for span, _ in spans if span.name != FEEDBACK}
            if traced:
                client.log_spans(experiment_id, traced)
    for score in scores:
        if _assess(client, score):
            done.scores += 1
        else:
            done.orphans += 1
    return seen


def _assess(client: Any, span: Any) -> bool:
    """False when the trace is not in the store. A score that is there already is not stored again."""
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
