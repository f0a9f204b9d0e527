"""Recorded traffic (OTLP JSON lines or an MLflow store), and the rows it proposes: questions that were declined or
disliked, redacted and clustered, each with the nearest sentence of the corpus as suggested answer."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes as gen_ai
from opentelemetry.semconv.attributes import http_attributes

from sluice.core.errors import SluiceError
from sluice.core.settings import load_settings
from sluice.core.text import sentences
from sluice.core.tracking import VARIABLE, tracking_uri
from sluice.core.workspace import Workspace
from sluice.data import privacy
from sluice.data.near_duplicates import repeats_across, words
from sluice.data.privacy import PrivacyPolicy
from sluice.data.rows import Row, load_corpus, load_rows
from sluice.evaluation.comparison_result import RIGHT
from sluice.extras.datakit.proposals import SIDES, Proposal, Proposals
from sluice.llm.model_files import ensure, load_models
from sluice.retrieval.embedder import Embedder
from sluice.serving.telemetry.telemetry import FEEDBACK, TENANT

_STORES = ("sqlite://", "http://", "https://", "mysql", "postgresql", "mssql", "databricks")
_SUFFIXES = (".jsonl", ".json")
_INTRO = """Questions that users asked in vain, taken together by likeness. The answers are suggestions: sentences of
the corpus that lie near the question, not what the model said."""
_ALIKE = 0.3  # cosine distance up to which questions are taken for the same, on average of a cluster
_NEAR = 0.5  # cosine from which a sentence of the corpus is suggested as the answer
_TRACES = 5  # of a cluster, to look at


@dataclass(frozen=True)
class Exchange:
    """A question and its outcome. `question` is empty if contents are not recorded, `feedback` is a mean from 0
    (bad) to 1."""

    trace_id: str
    tenant: str
    question: str
    declined: bool
    blocked: bool
    feedback: float | None


@dataclass
class _Trace:
    """`root`: attributes of the request; `scores` with their comments, so that one that comes twice counts once."""

    root: Mapping[str, Any] = field(default_factory=dict)
    scores: set[tuple[float, str]] = field(default_factory=set)

    def add(self, name: str, attributes: Mapping[str, Any]) -> None:
        if http_attributes.HTTP_ROUTE in attributes:
            self.root = attributes
        elif name == FEEDBACK:
            comment = str(attributes.get(gen_ai.GEN_AI_EVALUATION_EXPLANATION, ""))
            self.scores.add((float(attributes[gen_ai.GEN_AI_EVALUATION_SCORE_VALUE]), comment))


_Traces = defaultdict[str, _Trace]  # by id


def _exchanges(traces: Mapping[str, _Trace]) -> list[Exchange]:
    """Return the traces that were answered, by id."""
    found = []
    for trace_id, trace in sorted(traces.items()):
        root = trace.root
        if str(root.get(http_attributes.HTTP_RESPONSE_STATUS_CODE)) == "200":  # OTLP writes integers as text
            one = Exchange(
                trace_id=trace_id,
                tenant=str(root.get(TENANT, "default")),
                question=_last_question(root.get(gen_ai.GEN_AI_INPUT_MESSAGES)),
                declined=bool(root.get("sluice.declined", False)),
                blocked=bool(root.get("sluice.blocked")),
                feedback=mean(score for score, _ in trace.scores) if trace.scores else None,
            )
            found.append(one)
    return found


def _last_question(recorded: Any) -> str:
    """Return the last message of a user; messages are JSON, but MLflow returns them parsed."""
    messages: Sequence[Any] = json.loads(recorded) if isinstance(recorded, str) else recorded or ()
    for message in reversed(messages):
        if message.get("role") == "user":
            return "".join(str(part.get("content", "")) for part in message.get("parts", ())).strip()
    return ""


def recorded(workspace: Workspace, place: str = "") -> list[Exchange]:
    """Return the traffic of a place, by default this machine's waiting files and MLflow store."""
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
    """Read OTLP lines, and lines of feedback as in .sluice/feedback/."""
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


def open_embedder(workspace: Workspace) -> Embedder:
    return Embedder(ensure(load_models(workspace.config / "models.yaml").embed, workspace.cache))


_Wanted = list[tuple[str, Exchange]]  # with the redacted question


def harvest(
    workspace: Workspace, traffic: Sequence[Exchange], policy: PrivacyPolicy, *, at_least: int, most: int
) -> Proposals:
    """Return proposals for what at least `at_least` asked in vain, so that no single user is exposed."""
    found = Proposals("harvest", "Rows that users' questions propose", _INTRO)
    wanted = _wanted(traffic, policy, found)
    if not wanted:
        return found
    rows = [row for side in SIDES for row in load_rows(workspace.data / f"{side}.jsonl")]
    public = [document for document in load_corpus(workspace.data / "corpus") if document.tenant is None]
    stated = [(text, one.id) for one in public for text in sentences(one.text) if len(words(text)) > 2]
    with open_embedder(workspace) as embedder:
        vectors = embedder.embed([question for question, _ in wanted])
        nearness = vectors @ embedder.embed([text for text, _ in stated]).T if stated else None
    clusters = [cluster for cluster in _clusters(vectors) if len(cluster) >= at_least]
    found.leave_out("asked too seldom", len(wanted) - sum(map(len, clusters)))
    clusters.sort(key=len, reverse=True)
    drafts = [_proposal(cluster, wanted, vectors, stated, nearness) for cluster in clusters]
    known = repeats_across(rows, [draft.row for draft in drafts])
    found.leave_out("in the data already", len(known))
    fresh = [draft for number, draft in enumerate(drafts) if number not in known]
    found.leave_out("beyond the most that are proposed", len(fresh[most:]))
    found.proposals = fresh[:most]
    return found


def _wanted(traffic: Sequence[Exchange], policy: PrivacyPolicy, found: Proposals) -> _Wanted:
    wanted = []
    for exchange in traffic:
        if exchange.blocked or not (exchange.declined or _disliked(exchange)):
            continue
        question = " ".join(privacy.redact(exchange.question, policy).split())
        if not question:
            found.leave_out("its question is not recorded")
        elif exchange.tenant != "default":
            found.leave_out("of one tenant: the model answers everybody")
        elif next(privacy.findings(question, policy), None):
            found.leave_out("personal data or secret")
        else:
            wanted.append((question, exchange))
    return wanted


def _disliked(exchange: Exchange) -> bool:
    return exchange.feedback is not None and exchange.feedback < RIGHT


def _clusters(vectors: Any) -> list[list[int]]:
    if len(vectors) == 1:
        return [[0]]
    from sklearn.cluster import AgglomerativeClustering

    labels = AgglomerativeClustering(
        n_clusters=None, metric="cosine", linkage="average", distance_threshold=_ALIKE
    ).fit_predict(vectors)
    return [[int(n) for n in np.flatnonzero(labels == label)] for label in np.unique(labels)]


def _proposal(
    cluster: list[int], wanted: _Wanted, vectors: Any, stated: Sequence[tuple[str, str]], nearness: Any
) -> Proposal:
    """Propose a cluster's most central question, and suggest the sentence nearest to it."""
    middle = vectors[cluster].mean(axis=0)
    chosen = max(cluster, key=lambda n: (float(vectors[n] @ middle), -n))
    question, exchanges = wanted[chosen][0], [wanted[n][1] for n in cluster]
    near, answer, doc_id = 0.0, "", ""
    if nearness is not None:
        best = int(np.argmax(nearness[chosen]))
        near = float(nearness[chosen, best])
        answer, doc_id = stated[best] if near >= _NEAR else ("", "")
    row = Row(
        id=f"h-{hashlib.sha256(question.encode('utf-8', 'replace')).hexdigest()[:12]}",
        question=question,
        answers=(answer,) if answer else (),
        doc_ids=(doc_id,) if answer else (),
        tags=("harvested",) if answer else ("harvested", "unanswerable"),
    )
    facts: dict[str, object] = {"asked": len(exchanges), "declined": sum(one.declined for one in exchanges)}
    facts |= {"disliked": sum(map(_disliked, exchanges)), "nearness": f"{near:.2f}"}
    return Proposal(row, facts, "traces " + ", ".join(exchange.trace_id for exchange in exchanges[:_TRACES]))
