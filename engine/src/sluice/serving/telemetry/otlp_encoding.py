"""Spans as the bytes of OTLP: protobuf for a collector, one line of JSON for a file.

The protobuf classes are OpenTelemetry's own. Its SDK is left out: a span of the SDK costs several times as much, and
its encoder twice as much again (engine/docs/decisions/own-spans.md).
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import orjson
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Status
from opentelemetry.proto.trace.v1.trace_pb2 import Span as ProtoSpan

from sluice.serving.telemetry.spans import Span
from sluice.serving.telemetry.traces import Value

SERVICE = "sluice"
TracedSpans = tuple[str, Sequence[Span]]  # a trace id and spans of that trace

_ERROR = Status(code=Status.STATUS_CODE_ERROR)
_SCOPE = InstrumentationScope(name="sluice")


def protobuf(traces: Iterable[TracedSpans], release: str) -> ExportTraceServiceRequest:
    """One request of OTLP with all spans of the given traces."""
    spans = [_proto_span(bytes.fromhex(trace_id), span) for trace_id, some in traces for span in some]
    resource = Resource(attributes=[_key_value("service.name", SERVICE), _key_value("service.version", release)])
    scoped = ScopeSpans(scope=_SCOPE, spans=spans)
    return ExportTraceServiceRequest(resource_spans=[ResourceSpans(resource=resource, scope_spans=[scoped])])


def _proto_span(trace_id: bytes, span: Span) -> ProtoSpan:
    return ProtoSpan(
        trace_id=trace_id,
        span_id=bytes.fromhex(span.span_id),
        parent_span_id=bytes.fromhex(span.parent_id),
        name=span.name,
        kind=span.kind,  # type: ignore[arg-type]
        start_time_unix_nano=span.start_ns,
        end_time_unix_nano=span.end_ns,
        attributes=[
            # Names, verdicts and digests come again with every request; figures do not.
            _key_value(key, value) if type(value) is str and len(value) <= 64 else _make_key_value(key, value)
            for key, value in span.attributes.items()
        ],
        status=_ERROR if span.error else None,
    )


def _make_key_value(key: str, value: Value) -> KeyValue:
    return KeyValue(key=key, value=_any_value(value))


_key_value = lru_cache(maxsize=2048)(_make_key_value)


def _any_value(value: Value) -> AnyValue:
    kind = type(value)
    if kind is str:
        # A lone surrogate cannot be written in UTF-8.
        return AnyValue(string_value=value.encode("utf-8", "replace").decode())  # type: ignore[union-attr]
    if kind is bool:
        return AnyValue(bool_value=value)  # type: ignore[arg-type]
    if kind is int:
        return AnyValue(int_value=value)  # type: ignore[arg-type]
    if kind is float:
        return AnyValue(double_value=value)  # type: ignore[arg-type]
    return AnyValue(array_value=ArrayValue(values=[_any_value(item) for item in value]))  # type: ignore[union-attr]


def json_line(trace_id: str, spans: Sequence[Span], release: str) -> bytes:
    """One line in OTLP's JSON form, as collectors read and write it in files; ids are hexadecimal."""
    return orjson.dumps(
        {
            "resourceSpans": [
                {
                    "resource": {
                        "attributes": [
                            {"key": "service.name", "value": {"stringValue": SERVICE}},
                            {"key": "service.version", "value": {"stringValue": release}},
                        ]
                    },
                    "scopeSpans": [{"scope": {"name": "sluice"}, "spans": [_json_span(trace_id, s) for s in spans]}],
                }
            ]
        },
        option=orjson.OPT_APPEND_NEWLINE,
    )


def _json_span(trace_id: str, span: Span) -> dict[str, Any]:
    written = {
        "traceId": trace_id,
        "spanId": span.span_id,
        "parentSpanId": span.parent_id,
        "name": span.name,
        "kind": span.kind,
        "startTimeUnixNano": str(span.start_ns),
        "endTimeUnixNano": str(span.end_ns),
        "attributes": [{"key": key, "value": _json_value(value)} for key, value in span.attributes.items()],
    }
    if span.error:
        written["status"] = {"code": 2}
    return written


def _json_value(value: Value) -> dict[str, Any]:
    kind = type(value)
    if kind is str:
        # orjson refuses lone surrogates.
        return {"stringValue": value if value.isascii() else value.encode("utf-8", "replace").decode()}  # type: ignore[union-attr]
    if kind is bool:
        return {"boolValue": value}
    if kind is int:
        return {"intValue": str(value)}
    if kind is float:
        return {"doubleValue": value}
    return {"arrayValue": {"values": [_json_value(item) for item in value]}}  # type: ignore[union-attr]


def parse_json_line(line: bytes) -> ExportTraceServiceRequest:
    """The other way round. ValueError when the line is not OTLP."""
    from google.protobuf.json_format import ParseDict, ParseError

    document = orjson.loads(line)
    try:
        for resource in document["resourceSpans"]:
            for scope in resource["scopeSpans"]:
                for span in scope["spans"]:
                    # Protobuf's JSON wants bytes as base64, OTLP's has ids in hexadecimal.
                    for key in ("traceId", "spanId", "parentSpanId"):
                        span[key] = base64.b64encode(bytes.fromhex(span.get(key, ""))).decode()
        request = ExportTraceServiceRequest()
        ParseDict(document, request, ignore_unknown_fields=True)
        return request
    except (KeyError, TypeError, AttributeError, ParseError) as error:
        raise ValueError(f"not a line of OTLP: {error}") from None
