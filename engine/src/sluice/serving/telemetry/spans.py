"""Names of OpenTelemetry's GenAI conventions: what the record of a request becomes on its spans.

Runs when a sampled request has ended. Where the conventions know no kind or text of a step, those of OpenInference are
used, which Langfuse and MLflow read as well; names that no convention has begin with `sluice.`.
engine/docs/reference/telemetry.md lists all of them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes as gen_ai
from opentelemetry.semconv.attributes import error_attributes, http_attributes
from opentelemetry.trace import SpanContext, Status, StatusCode, TraceFlags

from sluice.guardrails.redaction import redact
from sluice.serving.telemetry.traces import CHAT, CONDENSE, GUARDS, PROMPT, REQUEST, RETRIEVE, Trace, TraceStep, Value

RELEASE = "sluice.release"
TENANT = "sluice.tenant"
PROMPT_DIGEST = "sluice.prompt.digest"
FEEDBACK = "feedback"

_OPERATIONS = {
    REQUEST: gen_ai.GenAiOperationNameValues.INVOKE_WORKFLOW.value,
    RETRIEVE: gen_ai.GenAiOperationNameValues.RETRIEVAL.value,
    CONDENSE: gen_ai.GenAiOperationNameValues.CHAT.value,
    CHAT: gen_ai.GenAiOperationNameValues.CHAT.value,
}
_KINDS = {REQUEST: "CHAIN", RETRIEVE: "RETRIEVER", **dict.fromkeys(GUARDS, "GUARDRAIL")}
# Texts by the name that the application gives them, and where the conventions put them.
_TEXTS = {
    "input": (gen_ai.GEN_AI_INPUT_MESSAGES,),
    "output": (gen_ai.GEN_AI_OUTPUT_MESSAGES,),
    "query": (gen_ai.GEN_AI_RETRIEVAL_QUERY_TEXT, "input.value"),
    "documents": (gen_ai.GEN_AI_RETRIEVAL_DOCUMENTS, "output.value"),
}
Attributes = dict[str, Value]
Dialect = Callable[[Mapping[str, Value]], Mapping[str, Value]]


@dataclass(frozen=True)
class ProcessFacts:
    """What is the same for every request of one process."""

    release: str
    prompt_name: str
    prompt_digest: str

    def attributes(self, tenant: str) -> Attributes:
        """Those of every span of a tenant."""
        return {RELEASE: self.release, PROMPT_DIGEST: self.prompt_digest, TENANT: tenant or "default"}


@dataclass(frozen=True)
class FeedbackScore:
    """What a user thinks of an answer, from 0 (bad) to 1 (good). `comment` is redacted before it is sent."""

    trace_id: str
    value: float
    comment: str = ""
    tenant: str = ""


def end_spans(trace: Trace, facts: ProcessFacts, dialects: Iterable[Dialect] = ()) -> None:
    """Puts the record of a request on its spans and ends them, the root last, which hands them to the exporters.

    Args:
        trace: a finished request; without effect when it is not sampled.
        facts: of this process, for every span.
        dialects: each gives the attributes that one backend wants beside those of a span.
    """
    if not trace.span.is_recording():
        return
    for step in (*trace.steps, trace):
        attributes = _attributes(step, trace, facts)
        for dialect in dialects:
            attributes |= dialect(attributes)
        if step.name == CHAT and (model := attributes.get(gen_ai.GEN_AI_REQUEST_MODEL)):
            step.span.update_name(f"{CHAT} {model}")
        if step.error:
            step.span.set_status(Status(StatusCode.ERROR, step.error))
        step.span.set_attributes(attributes)
        step.span.end(step.end_ns or trace.end_ns)


def _attributes(step: TraceStep, trace: Trace, facts: ProcessFacts) -> Attributes:
    attributes = facts.attributes(trace.tenant) | step.attributes
    if operation := _OPERATIONS.get(step.name):
        attributes[gen_ai.GEN_AI_OPERATION_NAME] = operation
    if kind := _KINDS.get(step.name):
        attributes["openinference.span.kind"] = kind
    if step.error:
        attributes[error_attributes.ERROR_TYPE] = step.error
    if step.name in (PROMPT, CHAT, REQUEST):
        attributes[gen_ai.GEN_AI_PROMPT_NAME] = facts.prompt_name
    elif step.name == CONDENSE:
        attributes[gen_ai.GEN_AI_PROMPT_NAME] = step.name
    if step is trace:
        attributes[http_attributes.HTTP_REQUEST_METHOD] = "POST"
        attributes[http_attributes.HTTP_ROUTE] = trace.route
        attributes[http_attributes.HTTP_RESPONSE_STATUS_CODE] = trace.status
        attributes[gen_ai.GEN_AI_WORKFLOW_NAME] = facts.prompt_name
        attributes[gen_ai.GEN_AI_REQUEST_STREAM] = trace.stream
    for name, value in step.texts.items():
        attributes |= dict.fromkeys(_TEXTS.get(name, ()), _redacted(value))
    return attributes


def _redacted(value: Any) -> str:
    """A text, documents, or messages in the form of the GenAI conventions, without personal data and secrets."""
    if isinstance(value, str):
        # Half a character cannot be written in UTF-8.
        return redact(value.encode("utf-8", "replace").decode())
    done = []
    for item in value:
        content = _redacted(item["content"])
        if "role" in item:
            done.append({"role": item["role"], "parts": [{"type": "text", "content": content}]})
        else:
            done.append(item | {"content": content})
    return json.dumps(done, ensure_ascii=False)


def feedback_span(score: FeedbackScore, facts: ProcessFacts, resource: Resource) -> ReadableSpan:
    """A score as a span of the trace that it is about, whose request has ended long ago.

    Args:
        score: what a user thinks.
        facts: of this process.
        resource: of the process's other spans.
    """
    attributes = facts.attributes(score.tenant)
    attributes[gen_ai.GEN_AI_EVALUATION_NAME] = "user"
    attributes[gen_ai.GEN_AI_EVALUATION_SCORE_VALUE] = float(score.value)
    if score.comment:
        attributes[gen_ai.GEN_AI_EVALUATION_EXPLANATION] = _redacted(score.comment)
    ids = int(score.trace_id, 16), RandomIdGenerator().generate_span_id()
    context = SpanContext(*ids, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    now = time.time_ns()
    return ReadableSpan(FEEDBACK, context, None, resource, attributes, start_time=now, end_time=now)
