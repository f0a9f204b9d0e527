"""Converts the record of a request into OpenTelemetry spans, named by its GenAI conventions.

Runs in an exporter's thread, for sampled requests only. `spans_of` gives plain spans; otlp_encoding.py writes them as
bytes. Names that no convention has begin with `sluice.`; engine/docs/reference/telemetry.md lists all of them.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.semconv._incubating.attributes import gen_ai_attributes as gen_ai
from opentelemetry.semconv.attributes import error_attributes, http_attributes

from sluice.guardrails.redaction import redact
from sluice.serving.telemetry.traces import (
    CHAT,
    CONDENSE,
    GUARD_INPUT,
    GUARD_OUTPUT,
    PROMPT,
    RETRIEVE,
    Trace,
    TraceStep,
    Value,
)

INTERNAL, SERVER, CLIENT = 1, 2, 3  # opentelemetry.proto.trace.v1.Span.SpanKind

RELEASE = "sluice.release"
TENANT = "sluice.tenant"
PROMPT_DIGEST = "sluice.prompt.digest"
FEEDBACK = "feedback"

_OPERATIONS = {
    "request": gen_ai.GenAiOperationNameValues.INVOKE_WORKFLOW.value,
    RETRIEVE: gen_ai.GenAiOperationNameValues.RETRIEVAL.value,
    CONDENSE: gen_ai.GenAiOperationNameValues.CHAT.value,
    CHAT: gen_ai.GenAiOperationNameValues.CHAT.value,
}
_KINDS = {"request": SERVER, CONDENSE: CLIENT, CHAT: CLIENT}


@dataclass(frozen=True)
class ProcessFacts:
    """What is the same for every request of one process."""

    release: str
    prompt_name: str
    prompt_digest: str


@dataclass
class Span:
    """`step`: name of the step it was made from. Times in nanoseconds since 1970. `error`: a class name, or empty."""

    step: str
    name: str
    kind: int
    span_id: str
    parent_id: str
    start_ns: int
    end_ns: int
    error: str
    attributes: dict[str, Value]
    texts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class FeedbackScore:
    """What a user thinks of an answer, from 0 (bad) to 1 (good). `id`: 16 hexadecimal digits.

    `comment` is redacted before it is sent."""

    trace_id: str
    value: float
    comment: str = ""
    name: str = "user"
    tenant: str = ""
    id: str = field(default_factory=lambda: f"{random.getrandbits(64) or 1:016x}")
    given_ns: int = field(default_factory=time.time_ns)


Dialect = Callable[[Span], None]


def plain(span: Span) -> None:
    """No names beside those of OpenTelemetry."""


def spans_of(trace: Trace, facts: ProcessFacts, dialect: Dialect = plain) -> list[Span]:
    """The root span and one for each step. `dialect` may add a backend's own attributes to each."""
    spans = list(_spans(trace, facts))
    for span in spans:
        dialect(span)
    return spans


def _spans(trace: Trace, facts: ProcessFacts) -> Iterator[Span]:
    everywhere: dict[str, Value] = {
        RELEASE: facts.release,
        PROMPT_DIGEST: facts.prompt_digest,
        TENANT: trace.tenant or "default",
    }
    root = _span(trace, everywhere, f"POST {trace.route}", trace.span_id, trace.parent_id)
    root.attributes[http_attributes.HTTP_REQUEST_METHOD] = "POST"
    root.attributes[http_attributes.HTTP_ROUTE] = trace.route
    root.attributes[http_attributes.HTTP_RESPONSE_STATUS_CODE] = trace.status
    root.attributes[gen_ai.GEN_AI_WORKFLOW_NAME] = root.attributes[gen_ai.GEN_AI_PROMPT_NAME] = facts.prompt_name
    root.attributes[gen_ai.GEN_AI_REQUEST_STREAM] = trace.stream
    yield root
    for number, step in enumerate(trace.steps, 1):
        name = step.name
        if name == CHAT and (model := step.attributes.get(gen_ai.GEN_AI_REQUEST_MODEL)):
            name = f"{name} {model}"
        # Counted from the root's, not drawn: a batch that is delivered twice must be the same spans twice.
        span_id = f"{(int(trace.span_id, 16) + number) % (1 << 64) or 1:016x}"
        span = _span(step, everywhere, name, span_id, trace.span_id)
        if step.name in (PROMPT, CHAT):
            span.attributes[gen_ai.GEN_AI_PROMPT_NAME] = facts.prompt_name
        elif step.name == CONDENSE:
            span.attributes[gen_ai.GEN_AI_PROMPT_NAME] = step.name
        yield span


def _span(step: TraceStep, everywhere: dict[str, Value], name: str, span_id: str, parent_id: str) -> Span:
    attributes = everywhere | step.attributes
    if operation := _OPERATIONS.get(step.name):
        attributes[gen_ai.GEN_AI_OPERATION_NAME] = operation
    if step.error:
        attributes[error_attributes.ERROR_TYPE] = step.error
    texts = _redacted(step.texts) if step.texts else {}
    for key, convention in _TEXTS.items():
        if key in texts:
            attributes[convention] = texts[key] if key == "query" else json.dumps(texts[key], ensure_ascii=False)
    return Span(
        step.name,
        name,
        _KINDS.get(step.name, INTERNAL),
        span_id,
        parent_id,
        step.start_ns,
        step.end_ns or step.start_ns,
        step.error,
        attributes,
        texts,
    )


# Texts by the name that the application gives them, and where the conventions put them.
_TEXTS = {
    "input": gen_ai.GEN_AI_INPUT_MESSAGES,
    "output": gen_ai.GEN_AI_OUTPUT_MESSAGES,
    "query": gen_ai.GEN_AI_RETRIEVAL_QUERY_TEXT,
    "documents": gen_ai.GEN_AI_RETRIEVAL_DOCUMENTS,
}


def _redacted(texts: dict[str, Any]) -> dict[str, Any]:
    done: dict[str, Any] = {}
    for key, value in texts.items():
        if key == "query":
            done[key] = redact(str(value))
        elif key == "documents":
            done[key] = [document | {"content": redact(document["content"])} for document in value]
        else:
            done[key] = [_message(message["role"], redact(message["content"])) for message in value]
    return done


def _message(role: str, content: str) -> dict[str, Any]:
    """A message in the form of the GenAI conventions."""
    return {"role": role, "parts": [{"type": "text", "content": content}]}


def feedback_span(score: FeedbackScore, facts: ProcessFacts) -> Span:
    """A score as a span of the trace it is about, for backends that know no scores."""
    attributes: dict[str, Value] = {
        RELEASE: facts.release,
        PROMPT_DIGEST: facts.prompt_digest,
        TENANT: score.tenant or "default",
        gen_ai.GEN_AI_EVALUATION_NAME: score.name,
        gen_ai.GEN_AI_EVALUATION_SCORE_VALUE: float(score.value),
    }
    if score.comment:
        attributes[gen_ai.GEN_AI_EVALUATION_EXPLANATION] = redact(score.comment)
    return Span(FEEDBACK, FEEDBACK, INTERNAL, score.id, "", score.given_ns, score.given_ns, "", attributes)


__all__ = [
    "GUARD_INPUT",
    "GUARD_OUTPUT",
    "Dialect",
    "FeedbackScore",
    "ProcessFacts",
    "Span",
    "feedback_span",
    "plain",
    "spans_of",
]
