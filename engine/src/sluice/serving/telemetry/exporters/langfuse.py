"""Langfuse, in the cloud or self-hosted: its OTLP endpoint for traces, its scores interface for feedback.

The spans carry Langfuse's own names beside those of OpenTelemetry, as its library would write them, but the library is
not needed: it would bring the OpenTelemetry SDK and a buffer that a server's end loses.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opentelemetry.semconv._incubating.attributes import gen_ai_attributes as gen_ai

from sluice.core.errors import SluiceError
from sluice.guardrails.redaction import redact
from sluice.serving.telemetry.exporters.otlp import OtlpExporter
from sluice.serving.telemetry.spans import RELEASE, TENANT, FeedbackScore, ProcessFacts, Span
from sluice.serving.telemetry.traces import CHAT, CONDENSE, GUARD_INPUT, GUARD_OUTPUT, GUARD_PASSAGES, RETRIEVE, Trace

if TYPE_CHECKING:
    from sluice.serving.telemetry.settings import TraceSettings

_TYPES = {
    "request": "chain",
    GUARD_INPUT: "guardrail",
    GUARD_PASSAGES: "guardrail",
    GUARD_OUTPUT: "guardrail",
    RETRIEVE: "retriever",
    CONDENSE: "generation",
    CHAT: "generation",
}


def open_exporter(settings: TraceSettings, facts: ProcessFacts, state: Path) -> LangfuseExporter:  # noqa: ARG001 - all take these
    base = settings.langfuse.base_url or os.environ.get("LANGFUSE_BASE_URL", "")
    keys = [os.environ.get(f"LANGFUSE_{kind}_KEY", "") for kind in ("PUBLIC", "SECRET")]
    if not base or not all(keys):
        raise SluiceError(
            "config/telemetry.yaml: the exporter langfuse has no address or no keys",
            remedy="set LANGFUSE_PUBLIC_KEY, LANGFUSE_SECRET_KEY and LANGFUSE_BASE_URL, or take it out of exporters",
        )
    return LangfuseExporter(base, keys[0], keys[1], settings, facts)


class LangfuseExporter:
    def __init__(self, base: str, public: str, secret: str, settings: TraceSettings, facts: ProcessFacts) -> None:
        self._base = base.rstrip("/")
        self._environment = settings.langfuse.environment
        token = base64.b64encode(f"{public}:{secret}".encode()).decode()
        # The header with the version lets Langfuse show spans as they come, without waiting for the whole trace.
        headers = {"authorization": f"Basic {token}", "x-langfuse-ingestion-version": "4"}
        endpoint = f"{self._base}/api/public/otel/v1/traces"
        self._otlp = OtlpExporter(endpoint, headers, settings.timeout_seconds, facts, self._dialect)

    def deliver(self, items: Sequence[Trace | FeedbackScore]) -> None:
        self._otlp.deliver([item for item in items if isinstance(item, Trace)])
        if scores := [self._score(item) for item in items if isinstance(item, FeedbackScore)]:
            self._otlp.poster.send("POST", f"{self._base}/api/public/scores", json.dumps(scores).encode())

    def idle(self) -> None:
        """Nothing to do between batches."""

    def close(self) -> None:
        self._otlp.close()

    def _score(self, score: FeedbackScore) -> dict[str, Any]:
        body = {
            "id": score.id,
            "traceId": score.trace_id,
            "name": score.name,
            "value": score.value,
            "dataType": "NUMERIC",
            "environment": self._environment,
        }
        return body | {"comment": redact(score.comment)} if score.comment else body

    def _dialect(self, span: Span) -> None:
        own = span.attributes
        own["langfuse.observation.type"] = _TYPES.get(span.step, "span")
        own["langfuse.environment"] = self._environment
        own["langfuse.release"] = own[RELEASE]
        own["langfuse.trace.metadata.tenant"] = own[TENANT]
        if span.error:
            own["langfuse.observation.level"] = "ERROR"
            own["langfuse.observation.status_message"] = span.error
        if span.step == "request":
            own["langfuse.trace.name"] = span.name
        elif span.step in (CONDENSE, CHAT):
            _generation(span)
        texts = span.texts
        given = texts.get("input") or texts.get("query")
        if given:
            own["langfuse.observation.input"] = json.dumps(_flat(given), ensure_ascii=False)
        if produced := texts.get("output") or texts.get("documents"):
            own["langfuse.observation.output"] = json.dumps(_flat(produced), ensure_ascii=False)


def _generation(span: Span) -> None:
    own = span.attributes
    if model := own.get(gen_ai.GEN_AI_REQUEST_MODEL):
        own["langfuse.observation.model.name"] = model
    if gen_ai.GEN_AI_USAGE_INPUT_TOKENS in own:
        usage = {
            "input": own[gen_ai.GEN_AI_USAGE_INPUT_TOKENS],
            "output": own[gen_ai.GEN_AI_USAGE_OUTPUT_TOKENS],
        }
        own["langfuse.observation.usage_details"] = json.dumps(usage)
    if "sluice.cost" in own:
        own["langfuse.observation.cost_details"] = json.dumps({"total": own["sluice.cost"]})


def _flat(value: Any) -> Any:
    """Messages as role and content, which Langfuse shows as a conversation."""
    if isinstance(value, list) and value and "parts" in value[0]:
        return [{"role": m["role"], "content": m["parts"][0]["content"]} for m in value]
    return value
