"""Traces on disk until an import: OTLP's JSON lines in .sluice/traces/, where all files together have a limit.

The processes of a machine append to one file under a lock; `waiting` sets it aside, and the next batch begins another.
"""

from __future__ import annotations

import base64
import fcntl
import io
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sluice.serving.telemetry.export_queue import SpansLostError

if TYPE_CHECKING:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

_OPEN = "spans.jsonl"  # the file that is appended to


class TraceSpool(io.TextIOBase):
    """The stream that OpenTelemetry's file exporter writes to. `failure`: why the last line was not written."""

    def __init__(self, folder: Path, *, most_bytes: int) -> None:
        self._folder = folder
        self._most = most_bytes
        self.failure: SpansLostError | None = None

    def write(self, line: str) -> int:
        """Appends the whole line or nothing. SpansLostError when there is no room, or the disk does not take it."""
        content = line.encode()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with _locked(self._folder):
                if sum(path.stat().st_size for path in self._folder.glob("*")) + len(content) > self._most:
                    raise SpansLostError(
                        "spool_full", f"{self._folder} holds {self._most >> 20} MiB; `sluice traces push` loads it"
                    )
                _append(self._folder / _OPEN, content)
        except SpansLostError as error:
            self.failure = error
            raise
        except OSError as error:
            self.failure = SpansLostError("disk", f"{self._folder}: {error.strerror or error}")
            raise self.failure from None
        return len(line)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _append(path: Path, content: bytes) -> None:
    with path.open("ab", buffering=0) as stream:
        before, rest = stream.tell(), memoryview(content)
        try:
            while rest:  # nearly full disks take a part, and refuse the next
                rest = rest[stream.write(rest) :]
        except OSError:
            os.ftruncate(stream.fileno(), before)  # what was written before can still be loaded
            raise


def waiting(folder: Path) -> list[Path]:
    """The files to load, oldest first; services do not write to them any more."""
    if not folder.is_dir():
        return []
    with _locked(folder):
        if (folder / _OPEN).exists():
            (folder / _OPEN).rename(folder / f"{time.time_ns()}.jsonl")
    return sorted(folder.glob("*.jsonl"))


def parse_json_line(line: bytes) -> ExportTraceServiceRequest:
    """The spans of a line. ValueError when it is not OTLP."""
    from google.protobuf.json_format import ParseDict, ParseError
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    document = json.loads(line)
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
