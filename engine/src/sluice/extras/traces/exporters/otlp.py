"""Any OpenTelemetry collector, by the SDK's exporter of OTLP over HTTP; and the base of backends with scores."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import requests
from google.protobuf.message import DecodeError
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.environment_variables import OTEL_EXPORTER_OTLP_HEADERS, OTEL_EXPORTER_OTLP_TRACES_HEADERS
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from requests.adapters import HTTPAdapter
from urllib3 import Retry

from sluice.core.errors import SluiceError
from sluice.serving.telemetry.export_queue import SpansLostError, TraceExporter
from sluice.serving.telemetry.settings import TraceSettings
from sluice.serving.telemetry.telemetry import FEEDBACK

_LATER = (429, 502, 503, 504)  # retried by the rules of OTLP


def open_exporter(settings: TraceSettings, state: Path) -> OtlpExporter:  # noqa: ARG001 - all take these
    headers = _headers(settings.otlp.headers_env)
    return OtlpExporter(settings.otlp.endpoint, headers, settings.timeout_seconds)


class OtlpExporter(TraceExporter):
    """Tries a batch again within `timeout` seconds. Scores go as spans named `feedback`.

    The SDK doesn't tell why a batch failed, nor which spans a collector rejected: a hook keeps its last response."""

    def __init__(self, endpoint: str, headers: Mapping[str, str], timeout: float) -> None:
        self._endpoint = endpoint
        self._timeout = timeout
        self._response: requests.Response | None = None
        self.session = requests.Session()
        self.session.headers.update(headers)
        self.session.hooks["response"].append(self._keep)
        # The SDK would send the headers of these variables to every backend: a collector's token to Langfuse, too.
        general = (OTEL_EXPORTER_OTLP_TRACES_HEADERS, OTEL_EXPORTER_OTLP_HEADERS)
        hidden = {name: os.environ.pop(name) for name in general if name in os.environ}
        try:
            self._spans = OTLPSpanExporter(
                endpoint, headers=headers, timeout=timeout, compression=Compression.Gzip, session=self.session
            )
        finally:
            os.environ.update(hidden)

    def send(self, spans: Sequence[ReadableSpan]) -> None:
        self._response = None
        sent = self._spans.export(spans)
        if self._response is not None:
            _require_accepted(self._response)
            _require_complete(self._response)
        if sent is SpanExportResult.FAILURE:
            raise SpansLostError("unreachable", f"{self._endpoint}: no connection, or no answer in time")

    def shutdown(self) -> None:
        self._spans.shutdown()  # type: ignore[no-untyped-call]

    def _keep(self, response: requests.Response, *_: Any, **__: Any) -> None:
        self._response = response


class ScoringExporter(OtlpExporter):
    """A backend that has an interface for scores."""

    def __init__(
        self, base: str, path: str, headers: Mapping[str, str], timeout: float, login: tuple[str, str] | None = None
    ) -> None:
        super().__init__(base + path, headers, timeout)
        self._base = base
        self.session.auth = login
        self.session.mount(base + path, HTTPAdapter())  # the SDK tries again by itself
        retry = Retry(3, status_forcelist=_LATER, allowed_methods=None, backoff_factor=0.5, raise_on_status=False)
        self.session.mount(f"{base}/api/", HTTPAdapter(max_retries=retry.new(respect_retry_after_header=False)))

    def send(self, spans: Sequence[ReadableSpan]) -> None:
        scores = [span for span in spans if span.name == FEEDBACK]
        if traced := [span for span in spans if span.name != FEEDBACK]:
            super().send(traced)
        for number, score in enumerate(scores):
            try:
                self.call("POST", *self.score_of(score, score.attributes or {}))
            except SpansLostError as error:
                raise SpansLostError(error.reason, str(error), count=len(scores) - number) from None

    def score_of(self, span: ReadableSpan, given: Mapping[str, Any]) -> tuple[str, Any]:
        """Return the path and the body that tell a score."""
        raise NotImplementedError

    def call(self, method: str, path: str, body: Any = None, *, missing: bool = False) -> Any:
        """Return the parsed answer, or None for a 404 that `missing` allows."""
        url = self._base + path
        try:
            reply = self.session.request(method, url, json=body, timeout=self._timeout, allow_redirects=False)
            if missing and reply.status_code == 404:
                return None
            _require_accepted(reply)
            return reply.json()
        except requests.JSONDecodeError:
            raise SpansLostError("garbage", f"{url}: the answer is not JSON") from None
        except requests.RequestException as error:
            raise SpansLostError("unreachable", f"{url}: {type(error).__name__}") from None


def _require_accepted(reply: requests.Response) -> None:
    if not 200 <= reply.status_code < 300:
        later = reply.status_code in _LATER
        raise SpansLostError("unreachable" if later else "refused", f"{reply.url}: status {reply.status_code}")


def _require_complete(reply: requests.Response) -> None:
    if reply.headers.get("content-type", "").startswith("application/x-protobuf"):
        try:
            rejected = ExportTraceServiceResponse.FromString(reply.content).partial_success.rejected_spans
        except DecodeError:
            raise SpansLostError("garbage", f"{reply.url}: the answer is not OTLP") from None
        if rejected:
            raise SpansLostError("rejected", f"{reply.url}: {rejected} spans", count=rejected)


def _headers(variable: str) -> dict[str, str]:
    pairs = [pair.partition("=") for pair in os.environ.get(variable, "").split(",") if pair]
    if not all(equals and name.strip() for name, equals, _ in pairs):
        raise SluiceError(
            f"the variable {variable} is not name=value,name=value", remedy="its value is not shown: it may be secret"
        )
    return {name.strip(): value.strip() for name, _, value in pairs}
