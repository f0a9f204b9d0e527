"""A collector on loopback that decodes what arrives: OTLP, Langfuse's scores, and the REST calls of an MLflow server.

OTLP is parsed by the protocol's own generated code (opentelemetry-proto 1.45), since no collector is published as a
wheel. Langfuse's scores are those of its OpenAPI (version 5 of its library posts an array to /api/public/scores);
MLflow's calls are those of mlflow 3.17, server/handlers.py and server/otel_api.py.

`turn` says how it behaves: `ok`, `busy` (503, which is tried again), `forbidden` (403), `redirect` (302), `hang`
(answers only when it is closed), `garbage` (no HTTP), `not_otlp` (says protobuf and sends something else), `partial`
(rejects one span of each request) or `down` (nobody listens).
"""

import gzip
import json
import threading
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from typing import Any, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from sluice.serving.telemetry.settings import TelemetrySettings
from support.local_server import QuietHandler

PROTOBUF = "application/x-protobuf"
_STATUSES = {"busy": 503, "forbidden": 403, "redirect": 302}


@dataclass
class Arrived:
    """One request: `spans` are those of OTLP, `json` any other body."""

    method: str
    path: str
    headers: dict[str, str]
    spans: list[Any] = field(default_factory=list)
    json: Any = None
    resource: dict[str, Any] = field(default_factory=dict)


def attributes_of(span: Any) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in span.attributes}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    return getattr(value, kind)


def telemetry_settings(*exporters: str, level: str = "info", access: bool = False, **traces: Any) -> TelemetrySettings:
    given = {
        "exporters": list(exporters),
        "ratio": 1,
        "contents": False,
        "queue": 1000,
        "timeout_seconds": 60,
        "flush_seconds": 60,
    }
    logs = {"level": level, "format": "json", "access": access}
    return TelemetrySettings.model_validate({"traces": given | traces, "logs": logs})


class Collector:
    """Listens while it is entered. `arrived` is in the order of arrival."""

    def __init__(self) -> None:
        self._modes = ["ok"]
        self.arrived: list[Arrived] = []
        self.experiments: dict[str, str] = {}
        self.holding = threading.Event()  # a request hangs
        self.released = threading.Event()
        outer = self

        class Handler(QuietHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # head and body of an answer are two packets: no 40 ms between them

            def do_POST(self) -> None:
                outer.answer(self)

            do_GET = do_POST

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def turn(self, *modes: str) -> None:
        """From now on it behaves so: the next request meets the first of `modes`, and so on; the last one stays."""
        self._modes = list(modes)
        if modes == ("down",):
            self.__exit__()

    def _mode(self) -> str:
        return self._modes.pop(0) if len(self._modes) > 1 else self._modes[0]

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def spans(self) -> list[Any]:
        """In the order in which they began."""
        spans = [span for arrived in self.arrived for span in arrived.spans]
        return sorted(spans, key=lambda span: span.start_time_unix_nano)

    def answer(self, request: QuietHandler) -> None:
        body = request.body
        mode = self._mode()
        if mode == "hang":
            self.holding.set()
            self.released.wait()
            return
        if mode == "garbage":
            request.wfile.write(b"\x16\x03\x01 this is not HTTP\r\n\r\n")
            request.close_connection = True
            return
        if mode in _STATUSES:
            request.reply(_STATUSES[mode], b"{}")
            return
        arrived = Arrived(request.command, request.path, {k.lower(): v for k, v in request.headers.items()})
        self.arrived.append(arrived)
        if arrived.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        if arrived.headers.get("content-type") == PROTOBUF:
            parsed = ExportTraceServiceRequest.FromString(body)
            for resource in parsed.resource_spans:
                arrived.resource = attributes_of(resource.resource)
                arrived.spans += [span for scope in resource.scope_spans for span in scope.spans]
            response = ExportTraceServiceResponse()
            if mode == "partial":
                response.partial_success.rejected_spans = 1
            content = b"\xff\xff\xff" if mode == "not_otlp" else response.SerializeToString()
            request.reply(200, content, PROTOBUF)
            return
        arrived.json = json.loads(body) if body else None
        request.reply(*self._rest(arrived))

    def _rest(self, arrived: Arrived) -> tuple[int, bytes]:
        """The two calls of MLflow that need an answer with content."""
        if "/experiments/get-by-name" in arrived.path:
            name = arrived.path.rpartition("=")[2]
            if name not in self.experiments:
                return 404, b'{"error_code": "RESOURCE_DOES_NOT_EXIST"}'
            return 200, json.dumps({"experiment": {"experiment_id": self.experiments[name]}}).encode()
        if arrived.path.endswith("/experiments/create"):
            self.experiments[arrived.json["name"]] = "42"
            return 200, b'{"experiment_id": "42"}'
        return 200, b"{}"


def run_traced_service(port: int, url: str, delay: float, **traces: Any) -> None:
    """A whole service process around the scripted fakes that tells the collector at `url`, until it has drained."""
    import tempfile
    from pathlib import Path

    from sluice.serving.telemetry.telemetry import open_telemetry
    from support.serving.fakes import ScriptedChat, run_service, scripted_bundle

    chat = ScriptedChat(script={"overlap": "Sentence. " * 5}, piece=10, delay=delay)
    otlp = {"endpoint": url, "headers_env": "COLLECTOR_HEADERS"}
    settings = telemetry_settings("otlp", otlp=otlp, **traces)
    with tempfile.TemporaryDirectory() as state, open_telemetry(settings, scripted_bundle(), Path(state)) as telemetry:
        run_service(port, chat, telemetry=telemetry)
