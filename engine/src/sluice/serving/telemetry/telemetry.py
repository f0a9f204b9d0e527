"""Begins and finishes traces, takes scores, and flushes at the end.

Spans have the names of OpenTelemetry's GenAI conventions, else of OpenInference's, or begin with `sluice.`:
engine/docs/reference/telemetry.md."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opentelemetry.context import Context
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased, Sampler, TraceIdRatioBased
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes as gen_ai
from opentelemetry.semconv.attributes import error_attributes, http_attributes
from opentelemetry.trace import (
    INVALID_SPAN,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    get_current_span,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from sluice.core.extras import hooks
from sluice.guardrails.checks.leaks import redact
from sluice.serving.telemetry.export_queue import ExportQueue, TraceExporter
from sluice.serving.telemetry.service_log import access_line
from sluice.serving.telemetry.settings import TelemetrySettings
from sluice.serving.telemetry.traces import CHAT, CONDENSE, GUARDS, PROMPT, REQUEST, RETRIEVE, Trace, TraceStep, Value

if TYPE_CHECKING:
    from starlette.types import Scope

    from sluice.serving.feedback import Feedback
    from sluice.serving.release_parts import ReleaseBundle


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
    release: str
    prompt_name: str
    prompt_digest: str

    def attributes(self, tenant: str | None) -> Attributes:
        return {RELEASE: self.release, PROMPT_DIGEST: self.prompt_digest, TENANT: tenant or "default"}


def end_spans(trace: Trace, facts: ProcessFacts, dialects: Iterable[Dialect] = ()) -> None:
    """Put the record of a sampled request on its spans, plus what each backend's dialect wants, and end them."""
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
    """Redact a text, documents, or messages in the form of the GenAI conventions."""
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


def feedback_span(feedback: Feedback, facts: ProcessFacts, resource: Resource) -> ReadableSpan:
    """Return a score as a span of the trace that it is about, whose request has ended long ago."""
    attributes = facts.attributes(feedback.tenant)
    attributes[gen_ai.GEN_AI_EVALUATION_NAME] = "user"
    attributes[gen_ai.GEN_AI_EVALUATION_SCORE_VALUE] = feedback.score
    if feedback.comment:
        attributes[gen_ai.GEN_AI_EVALUATION_EXPLANATION] = _redacted(feedback.comment)
    ids = int(feedback.trace_id, 16), RandomIdGenerator().generate_span_id()
    context = SpanContext(*ids, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    now = time.time_ns()
    return ReadableSpan(FEEDBACK, context, None, resource, attributes, start_time=now, end_time=now)


SERVICE = "sluice"
_log = logging.getLogger(__name__)
_PROBES = {"/healthz", "/readyz", "/metrics"}
_PROPAGATOR = TraceContextTextMapPropagator()
_IDS = RandomIdGenerator()


class Telemetry:
    """Never waits and never raises; `on_lost` counts losses. Thread-safe."""

    def __init__(
        self, settings: TelemetrySettings, facts: ProcessFacts, exporters: Mapping[str, TraceExporter]
    ) -> None:
        traces = settings.traces
        self.facts = facts
        self.access = settings.logs.access
        self.on_lost: Callable[[str, str, int], None] = lambda exporter, reason, count: None  # noqa: ARG005
        self._contents = traces.contents
        self._flush_seconds = traces.flush_seconds
        self._dialects = [exporter.dialect for exporter in exporters.values()]
        self._resource = Resource.create({SERVICE_NAME: SERVICE, SERVICE_VERSION: facts.release})
        # A ratio of 0 is off, whatever a caller asks for; otherwise his traceparent may ask for a trace, and hide none.
        share: Sampler = TraceIdRatioBased(traces.ratio)
        sampled = bool(exporters) and traces.ratio > 0
        sampler: Sampler = ParentBased(share, remote_parent_not_sampled=share) if sampled else ALWAYS_OFF
        # Not the global provider: libraries would put texts into their spans that `contents` does not allow.
        provider = TracerProvider(sampler, self._resource, shutdown_on_exit=False)
        self.queues: dict[str, ExportQueue] = {}
        for name, exporter in exporters.items():
            lost = lambda reason, count, name=name: self.on_lost(name, reason, count)  # noqa: E731
            self.queues[name] = ExportQueue(name, exporter, lost, capacity=traces.queue)
            provider.add_span_processor(self.queues[name])
        self._tracer = provider.get_tracer(SERVICE)

    def begin(self, scope: Scope, *, chat: bool) -> Trace:
        """Begin a trace; a caller's traceparent is honoured. Requests that are no question have an id only."""
        context = Context()
        for name, value in scope["headers"]:
            if name == b"traceparent":
                context = _PROPAGATOR.extract({"traceparent": value.decode("latin-1")}, context)
        span = self._tracer.start_span(f"POST {scope['path']}", context, SpanKind.SERVER) if chat else INVALID_SPAN
        if not span.get_span_context().is_valid:  # also where OTEL_SDK_DISABLED is set
            caller = get_current_span(context).get_span_context()
            trace_id = caller.trace_id or _IDS.generate_trace_id()
            span = NonRecordingSpan(SpanContext(trace_id, _IDS.generate_span_id(), is_remote=False))
        return Trace(span, self._tracer, contents=self._contents)

    def finish(self, trace: Trace, status: int) -> None:
        trace.status = status
        trace.end()
        if status >= 500 and not trace.error:
            trace.fail(str(status))
        # A probe every second that went well is not worth a line.
        if self.access and (status >= 400 or trace.route not in _PROBES):
            access_line(trace)
        try:
            end_spans(trace, self.facts, self._dialects)
        except Exception:  # a value that a fork noted and no span can hold must not end the request
            _log.exception("a trace was lost")
            for name in self.queues:
                self.on_lost(name, "failed", 1)

    def score(self, feedback: Feedback) -> None:
        span = feedback_span(feedback, self.facts, self._resource)
        for queue in self.queues.values():
            queue.on_end(span)

    def close(self, seconds: float | None = None) -> bool:
        """Export what waits, within `seconds` (default: traces.flush_seconds)."""
        limit = self._flush_seconds if seconds is None else seconds
        end = time.monotonic() + limit
        for queue in self.queues.values():
            queue.stop()
        late = [name for name, queue in self.queues.items() if not queue.close(end - time.monotonic())]
        if late:
            _log.warning("telemetry %s: not everything was delivered within %g s", ", ".join(late), limit)
        return not late


@contextmanager
def open_telemetry(settings: TelemetrySettings, bundle: ReleaseBundle, state: Path) -> Iterator[Telemetry]:
    from sluice.serving.release_parts import require_prompt

    prompt = require_prompt(bundle)
    facts = ProcessFacts(bundle.release, prompt.name, prompt.digest)
    exporters: dict[str, TraceExporter] = {}
    for open_exporters in hooks("trace_exporters").values():
        exporters |= open_exporters(settings.traces, state)
    with closing(Telemetry(settings, facts, exporters)) as telemetry:
        yield telemetry
