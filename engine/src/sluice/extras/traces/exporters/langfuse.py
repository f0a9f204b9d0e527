"""Langfuse: its OTLP endpoint for traces, and its scores."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes as gen_ai
from opentelemetry.trace import format_span_id, format_trace_id

from sluice.core.errors import SluiceError
from sluice.extras.traces.exporters.otlp import ScoringExporter
from sluice.serving.telemetry.settings import TraceSettings
from sluice.serving.telemetry.telemetry import RELEASE, TENANT
from sluice.serving.telemetry.traces import Value


def open_exporter(settings: TraceSettings, state: Path) -> LangfuseExporter:  # noqa: ARG001 - all take these
    base = settings.langfuse.base_url or os.environ.get("LANGFUSE_BASE_URL", "")
    keys = [os.environ.get(f"LANGFUSE_{kind}_KEY", "") for kind in ("PUBLIC", "SECRET")]
    if not base or not all(keys):
        raise SluiceError(
            "config/telemetry.yaml: the exporter langfuse has no address or no keys",
            remedy="set LANGFUSE_PUBLIC_KEY, LANGFUSE_SECRET_KEY and LANGFUSE_BASE_URL, or take it out of exporters",
        )
    return LangfuseExporter(base.rstrip("/"), (keys[0], keys[1]), settings)


class LangfuseExporter(ScoringExporter):
    def __init__(self, base: str, login: tuple[str, str], settings: TraceSettings) -> None:
        # It lets Langfuse show spans as they come, without waiting for the whole trace.
        headers = {"x-langfuse-ingestion-version": "4"}
        super().__init__(base, "/api/public/otel/v1/traces", headers, settings.timeout_seconds, login)
        self._environment = settings.langfuse.environment

    def dialect(self, attributes: Mapping[str, Value]) -> Mapping[str, Value]:
        cost = attributes.get("sluice.cost")
        return {
            "langfuse.environment": self._environment,
            "langfuse.release": attributes[RELEASE],
            "langfuse.trace.metadata.tenant": attributes[TENANT],
            **({} if cost is None else {"gen_ai.usage.cost": cost}),
        }

    def score_of(self, span: ReadableSpan, given: Mapping[str, Any]) -> tuple[str, Any]:
        body = {
            "id": format_span_id(span.context.span_id),
            "traceId": format_trace_id(span.context.trace_id),
            "name": given[gen_ai.GEN_AI_EVALUATION_NAME],
            "value": given[gen_ai.GEN_AI_EVALUATION_SCORE_VALUE],
            "dataType": "NUMERIC",
            "environment": self._environment,
        }
        if comment := given.get(gen_ai.GEN_AI_EVALUATION_EXPLANATION):
            body["comment"] = comment
        return "/api/public/scores", [body]
