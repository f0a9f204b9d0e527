"""Reads recorded traffic from OTLP JSON lines (.sluice/traces/, or a collector's) or from an MLflow store."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sluice.core.errors import SluiceError
from sluice.core.tracking import VARIABLE, tracking_uri
from sluice.core.workspace import Workspace
from sluice.extras.traces.spool_reader import parse_json_line
from sluice.extras.traffic.recorded_exchange import Exchange, RecordedSpan, UserScore, put_together

_STORES = ("sqlite://", "http://", "https://", "mysql", "postgresql", "mssql", "databricks")
_SUFFIXES = (".jsonl", ".json")
_PAGE = 500


@dataclass
class RecordedTraffic:
    """`broken`: lines that are neither OTLP nor feedback."""

    exchanges: list[Exchange] = field(default_factory=list)
    broken: int = 0


def read_traffic(place: str, *, experiment: str) -> RecordedTraffic:
    """The recorded exchanges of a source: a file, a folder, `s3://bucket/prefix`, or the address of an MLflow store (of
    which `experiment` is read). A line of feedback as .sluice/feedback/ has it counts as well. SluiceError when the
    source cannot be read."""
    if place.startswith(_STORES):
        return RecordedTraffic(_of_store(place, experiment))
    spans: list[RecordedSpan] = []
    opinions: list[UserScore] = []
    broken = 0
    for line in _lines(place):
        try:
            document = json.loads(line)
            if "resourceSpans" in document:
                spans += _spans(line)
            else:
                opinions.append(UserScore(document["trace_id"], float(document["score"]), document.get("comment", "")))
        except (ValueError, KeyError, TypeError, AttributeError):
            broken += 1
    return RecordedTraffic(put_together(spans, opinions), broken)


def read_here(workspace: Workspace, *, experiment: str) -> RecordedTraffic:
    """What the service has recorded on this machine: files that wait to be loaded, and the MLflow store."""
    traces = workspace.state / "traces"
    found = RecordedTraffic()
    if any(traces.glob("*.jsonl")):
        found = read_traffic(str(traces), experiment=experiment)
    if VARIABLE in os.environ or (workspace.state / "mlflow.db").is_file():
        known = {exchange.trace_id for exchange in found.exchanges}
        stored = _of_store(tracking_uri(workspace), experiment)
        found.exchanges += [exchange for exchange in stored if exchange.trace_id not in known]
    return found


def _lines(place: str) -> Iterator[bytes]:
    import fsspec

    try:
        files, root = fsspec.core.url_to_fs(place if "://" in place else str(Path(place).absolute()))
        paths = [root] if files.isfile(root) else sorted(files.find(root))
        paths = [path for path in paths if path.endswith(_SUFFIXES)]
        if not paths:
            raise SluiceError(
                f"{place}: no {' or '.join(_SUFFIXES)} files", remedy="engine/docs/reference/data.md says which"
            )
        for path in paths:
            with files.open(path, "rb") as stream:
                yield from (line for line in stream if line.strip())
    except (OSError, ValueError, ImportError) as error:
        raise SluiceError(f"{place}: cannot be read: {error}") from error


def _spans(line: bytes) -> Iterator[RecordedSpan]:
    for resource in parse_json_line(line).resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield RecordedSpan(
                    span.trace_id.hex(), span.name, {one.key: _value(one.value) for one in span.attributes}
                )


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(one) for one in value.array_value.values]
    return getattr(value, kind) if kind else None


def _of_store(uri: str, experiment: str) -> list[Exchange]:
    """Every trace of an experiment of MLflow, with the scores that people gave."""
    logging.getLogger("alembic").setLevel(logging.WARNING)
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    try:
        client = MlflowClient(uri)
        found = client.get_experiment_by_name(experiment)
        if found is None:
            return []
        spans: list[RecordedSpan] = []
        opinions: list[UserScore] = []
        token = None
        while True:
            page = client.search_traces(locations=[found.experiment_id], max_results=_PAGE, page_token=token)
            for trace in page:
                trace_id = trace.info.trace_id.removeprefix("tr-")
                spans += [RecordedSpan(trace_id, span.name, span.attributes) for span in trace.data.spans]
                opinions += _assessments(trace_id, trace.info.assessments)
            token = page.token
            if not token:
                return put_together(spans, opinions)
    except MlflowException as error:
        raise SluiceError(f"{uri}: MLflow did not return its traces: {str(error).splitlines()[0]}") from error


def _assessments(trace_id: str, assessments: Any) -> Iterator[UserScore]:
    for one in assessments or ():
        if isinstance(one.value, int | float) and one.source.source_type == "HUMAN":
            yield UserScore(trace_id, float(one.value), one.rationale or "")
