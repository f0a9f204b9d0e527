"""The reading side of the traces on disk: the files that wait under .sluice/traces/, and what a line holds."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

from sluice.serving.telemetry.export_queue import OPEN_FILE, locked

if TYPE_CHECKING:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


def waiting(folder: Path) -> list[Path]:
    """The files to load, oldest first; services do not write to them any more."""
    if not folder.is_dir():
        return []
    with locked(folder):
        if (folder / OPEN_FILE).exists():
            (folder / OPEN_FILE).rename(folder / f"{time.time_ns()}.jsonl")
    return sorted(folder.glob("*.jsonl"))


def parse_json_line(line: bytes) -> ExportTraceServiceRequest:
    """The spans of a line. ValueError when it is not OTLP."""
    from google.protobuf.json_format import ParseDict, ParseError
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    document, request = json.loads(line), ExportTraceServiceRequest()
    try:
        for span in (s for r in document["resourceSpans"] for scope in r["scopeSpans"] for s in scope["spans"]):
            # Protobuf's JSON wants bytes as base64, OTLP's has ids in hexadecimal.
            for key in ("traceId", "spanId", "parentSpanId"):
                span[key] = base64.b64encode(bytes.fromhex(span.get(key, ""))).decode()
        ParseDict(document, request, ignore_unknown_fields=True)
    except (KeyError, TypeError, AttributeError, ParseError) as error:
        raise ValueError(f"not a line of OTLP: {error}") from None
    return request
