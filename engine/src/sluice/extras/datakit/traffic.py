"""Recorded traffic as questions with what came of them: from files of OTLP JSON lines or from an MLflow store."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from typing import Any

from opentelemetry.semconv._incubating.attributes import gen_ai_attributes as gen_ai
from opentelemetry.semconv.attributes import http_attributes

from sluice.core.errors import SluiceError
from sluice.core.settings import load_settings
from sluice.core.tracking import VARIABLE, tracking_uri
from sluice.core.workspace import Workspace
from sluice.serving.telemetry.telemetry import FEEDBACK, TENANT
from sluice.serving.telemetry.traces import RETRIEVE

Embed = Callable[[Sequence[str]], Any]  # texts to unit vectors
_STORES = ("sqlite://", "http://", "https://", "mysql", "postgresql", "mssql", "databricks")
_SUFFIXES = (".jsonl", ".json")


@dataclass(frozen=True)
class Exchange:
    """A question and what came of it. `question`: empty where contents are not recorded. `similarity`: cosine of the
    nearest passage, None where none was looked for. `feedback`: mean from 0 (bad) to 1, None without any."""

    trace_id: str
    tenant: str
    question: str
    declined: bool
    blocked: bool
    similarity: float | None
    feedback: float | None


@dataclass
class _Trace:
    """`root`: attributes of the request. `scores`: with their comments; one that comes twice counts once."""

    root: Mapping[str, Any] = field(default_factory=dict)
    retrieve: Mapping[str, Any] = field(default_factory=dict)
    scores: set[tuple[float, str]] = field(default_factory=set)

    def add(self, name: str, attributes: Mapping[str, Any]) -> None:
        """Take a span."""
        if http_attributes.HTTP_ROUTE in attributes:
            self.root = attributes
        elif name == RETRIEVE:
            self.retrieve = attributes
        elif name == FEEDBACK:
            comment = str(attributes.get(gen_ai.GEN_AI_EVALUATION_EXPLANATION, ""))
            self.scores.add((float(attributes[gen_ai.GEN_AI_EVALUATION_SCORE_VALUE]), comment))


_Traces = defaultdict[str, _Trace]  # by id


def _exchanges(traces: Mapping[str, _Trace]) -> list[Exchange]:
    """One for each trace that was answered, by trace id; failed requests are left out."""
    found = []
    for trace_id, trace in sorted(traces.items()):
        root, similarity = trace.root, trace.retrieve.get("sluice.retrieval.best_similarity")
        if str(root.get(http_attributes.HTTP_RESPONSE_STATUS_CODE)) == "200":  # OTLP writes integers as text
            one = Exchange(
                trace_id=trace_id,
                tenant=str(root.get(TENANT, "default")),
                question=_last_question(root.get(gen_ai.GEN_AI_INPUT_MESSAGES)),
                declined=bool(root.get("sluice.declined", False)),
                blocked=bool(root.get("sluice.blocked")),
                similarity=None if similarity is None else float(similarity),
                feedback=mean(score for score, _ in trace.scores) if trace.scores else None,
            )
            found.append(one)
    return found


def _last_question(recorded: Any) -> str:
    """The last message of a user; messages are recorded as JSON, MLflow hands them back parsed."""
    messages: Sequence[Any] = json.loads(recorded) if isinstance(recorded, str) else recorded or ()
    for message in reversed(messages):
        if message.get("role") == "user":
            return "".join(str(part.get("content", "")) for part in message.get("parts", ())).strip()
    return ""


def recorded(workspace: Workspace, place: str = "") -> list[Exchange]:
    """Return the traffic of a place: a file, a folder, `s3://bucket/prefix`, or the address of an MLflow store.

    Without a place, it is what the service has recorded on this machine: files that wait to be loaded, and its MLflow
    store. SluiceError when the place cannot be read.
    """
    from sluice.serving.telemetry.settings import TelemetrySettings

    experiment = load_settings(workspace.config / "telemetry.yaml", TelemetrySettings).traces.mlflow.experiment
    if place.startswith(_STORES):
        return _of_store(place, experiment)
    if place:
        return _of_files(place)
    spool = workspace.state / "traces"
    found = _of_files(str(spool)) if any(spool.glob("*.jsonl")) else []
    if VARIABLE in os.environ or (workspace.state / "mlflow.db").is_file():
        known = {exchange.trace_id for exchange in found}
        found += [one for one in _of_store(tracking_uri(workspace), experiment) if one.trace_id not in known]
    return found


def _of_files(place: str) -> list[Exchange]:
    """OTLP lines, and lines of feedback as .sluice/feedback/ has them."""
    traces = _Traces(_Trace)
    broken = 0
    for line in _lines(place):
        try:
            document = json.loads(line)
            if "resourceSpans" not in document:
                traces[document["trace_id"]].scores.add((float(document["score"]), document.get("comment", "")))
            for scope in (scope for one in document.get("resourceSpans", ()) for scope in one["scopeSpans"]):
                for span in scope["spans"]:
                    attributes = {
                        one["key"]: next(iter(one["value"].values()), None) for one in span.get("attributes", ())
                    }
                    traces[span["traceId"]].add(span["name"], attributes)
        except (ValueError, KeyError, TypeError, AttributeError):
            broken += 1
    if broken:
        print(f"{place}: {broken} lines are neither OTLP nor feedback", file=sys.stderr)
    return _exchanges(traces)


def _lines(place: str) -> Iterator[bytes]:
    import fsspec

    try:
        files, root = fsspec.core.url_to_fs(place if "://" in place else str(Path(place).absolute()))
        paths = [root] if files.isfile(root) else sorted(files.find(root))
        paths = [path for path in paths if path.endswith(_SUFFIXES)]
        if not paths:
            remedy = "engine/docs/reference/datakit.md says which"
            raise SluiceError(f"{place}: no {' or '.join(_SUFFIXES)} files", remedy=remedy)
        for path in paths:
            with files.open(path, "rb") as stream:
                yield from (line for line in stream if line.strip())
    except (OSError, ValueError, ImportError) as error:
        raise SluiceError(f"{place}: cannot be read: {error}") from error


def _of_store(uri: str, experiment: str) -> list[Exchange]:
    """Every trace of an experiment of MLflow, with the scores that people gave."""
    logging.getLogger("alembic").setLevel(logging.WARNING)
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    traces = _Traces(_Trace)
    try:
        client = MlflowClient(uri)
        if (found := client.get_experiment_by_name(experiment)) is None:
            return []
        token = None
        while True:
            page = client.search_traces(locations=[found.experiment_id], max_results=500, page_token=token)
            for recorded_trace in page:
                trace = traces[recorded_trace.info.trace_id.removeprefix("tr-")]
                for span in recorded_trace.data.spans:
                    trace.add(span.name, span.attributes)
                for one in recorded_trace.info.assessments or ():
                    if isinstance(one.value, int | float) and one.source.source_type == "HUMAN":
                        trace.scores.add((float(one.value), one.rationale or ""))
            token = page.token
            if not token:
                return _exchanges(traces)
    except MlflowException as error:
        raise SluiceError(f"{uri}: MLflow did not return its traces: {str(error).splitlines()[0]}") from error


@contextmanager
def open_embedder(workspace: Workspace) -> Iterator[Embed]:
    """The embedder of the retrieval. SluiceError where its model is not on this machine and cannot be brought."""
    from sluice.llm.model_files import ensure, load_models
    from sluice.retrieval.embedder import Embedder

    with Embedder(ensure(load_models(workspace.config / "models.yaml").embed, workspace.cache)) as opened:
        yield opened.embed
