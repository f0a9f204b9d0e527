"""One question and its answer, assembled from the spans and scores of its trace."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import mean
from typing import Any

from opentelemetry.semconv._incubating.attributes import gen_ai_attributes as gen_ai
from opentelemetry.semconv.attributes import http_attributes

from sluice.serving.telemetry.spans import FEEDBACK, RELEASE, TENANT
from sluice.serving.telemetry.traces import RETRIEVE


@dataclass(frozen=True)
class Exchange:
    """`question`, `answer`: empty where contents are not recorded. `similarity`: cosine of the nearest passage, None
    where none was looked for. `chunks`: ids of the passages, best first. `feedback`: from 0 (bad) to 1, the mean where
    there are several, None without any."""

    trace_id: str
    release: str
    tenant: str
    question: str
    answer: str
    declined: bool
    blocked: bool
    similarity: float | None
    chunks: tuple[str, ...]
    feedback: float | None
    comments: tuple[str, ...] = ()


@dataclass(frozen=True)
class RecordedSpan:
    """A span, whatever it was read from."""

    trace_id: str
    name: str
    attributes: Mapping[str, Any]


@dataclass(frozen=True)
class UserScore:
    """A user's score of a trace."""

    trace_id: str
    score: float
    comment: str = ""


@dataclass
class _TraceParts:
    root: Mapping[str, Any] | None = None
    retrieve: Mapping[str, Any] = field(default_factory=dict)
    opinions: set[UserScore] = field(default_factory=set)


def put_together(spans: Iterable[RecordedSpan], opinions: Iterable[UserScore] = ()) -> list[Exchange]:
    """An exchange for each trace that was answered, in the order of trace ids. Requests that failed are left out, and
    so are scores of traces that are not here. A span or score that comes twice counts once."""
    parts: defaultdict[str, _TraceParts] = defaultdict(_TraceParts)
    for span in spans:
        seen = parts[span.trace_id]
        if http_attributes.HTTP_ROUTE in span.attributes:
            seen.root = span.attributes
        elif span.name == RETRIEVE:
            seen.retrieve = span.attributes
        elif span.name == FEEDBACK:
            seen.opinions.add(_opinion(span))
    for opinion in opinions:
        parts[opinion.trace_id].opinions.add(opinion)
    return [
        _exchange(trace_id, seen.root, seen)
        for trace_id, seen in sorted(parts.items())
        if seen.root is not None and seen.root.get(http_attributes.HTTP_RESPONSE_STATUS_CODE) == 200
    ]


def _opinion(span: RecordedSpan) -> UserScore:
    score = float(span.attributes[gen_ai.GEN_AI_EVALUATION_SCORE_VALUE])
    return UserScore(span.trace_id, score, str(span.attributes.get(gen_ai.GEN_AI_EVALUATION_EXPLANATION, "")))


def _exchange(trace_id: str, root: Mapping[str, Any], parts: _TraceParts) -> Exchange:
    similarity = parts.retrieve.get("sluice.retrieval.best_similarity")
    scores = [opinion.score for opinion in parts.opinions]
    return Exchange(
        trace_id=trace_id,
        release=str(root.get(RELEASE, "")),
        tenant=str(root.get(TENANT, "default")),
        question=_last_text(root.get(gen_ai.GEN_AI_INPUT_MESSAGES), "user"),
        answer=_last_text(root.get(gen_ai.GEN_AI_OUTPUT_MESSAGES), "assistant"),
        declined=bool(root.get("sluice.declined", False)),
        blocked=bool(root.get("sluice.blocked")),
        similarity=None if similarity is None else float(similarity),
        chunks=tuple(map(str, parts.retrieve.get("sluice.retrieval.chunks", ()))),
        feedback=mean(scores) if scores else None,
        comments=tuple(sorted(opinion.comment for opinion in parts.opinions if opinion.comment)),
    )


def _last_text(recorded: Any, role: str) -> str:
    """The text of the last message of a role; messages are recorded as JSON, MLflow hands them back parsed."""
    messages: Sequence[Any] = json.loads(recorded) if isinstance(recorded, str) else recorded or ()
    for message in reversed(messages):
        if message.get("role") == role:
            return "".join(str(part.get("content", "")) for part in message.get("parts", ())).strip()
    return ""
