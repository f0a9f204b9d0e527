"""The log of the service: JSON or plain lines; never a question, an answer or a key.

A separate thread writes it: a full disk or a blocked reader loses lines, which are counted, and delays no request."""

from __future__ import annotations

import logging
import os
import queue
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from logging.handlers import QueueHandler, QueueListener
from typing import Any, TextIO

import orjson

from sluice.core.processes import interrupts_deferred
from sluice.guardrails.checks.leaks import redact
from sluice.serving.telemetry.settings import LogSettings
from sluice.serving.telemetry.traces import CHAT, CONDENSE, GUARDS, RETRIEVE, Trace, current_trace

ACCESS = "sluice.access"
_LINES = 10_000
_LONGEST = 1000  # characters of a message
_access = logging.getLogger(ACCESS)


class JsonFormatter(logging.Formatter):
    def __init__(self, release: str) -> None:
        super().__init__()
        self._release = release

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
            "release": self._release,
        }
        trace = getattr(record, "trace", None) or current_trace()
        if trace.route:
            line["trace"] = trace.trace_id
            if trace.tenant:
                line["tenant"] = trace.tenant
        line |= getattr(record, "fields", {})
        if record.exc_info and record.exc_info[0]:
            line["error"] = record.exc_info[0].__name__
            line["traceback"] = _places(record)
        return orjson.dumps(line, default=str, option=orjson.OPT_UTC_Z).decode()


class TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = " ".join(f"{name}={value}" for name, value in getattr(record, "fields", {}).items())
        clock = self.formatTime(record, "%H:%M:%S")
        line = f"{clock} {record.levelname.lower():<7} {_message(record)} {fields}".rstrip()
        return f"{line}\n{_places(record)}" if record.exc_info and record.exc_info[0] else line


def _message(record: logging.LogRecord) -> str:
    """Messages of errors may quote what a server said: they are redacted and cut. Lines with fields are ours."""
    message = record.getMessage()
    if not hasattr(record, "fields"):
        message = redact(message[:_LONGEST])
    return message.encode("utf-8", "replace").decode()


def _places(record: logging.LogRecord) -> str:
    """Name files, lines and classes of an exception and its causes; their messages may quote a user."""
    found = []
    error = record.exc_info[1] if record.exc_info else None
    while error is not None:
        frames = traceback.extract_tb(error.__traceback__)
        found.append("\n".join(f"  {f.filename}:{f.lineno} in {f.name}" for f in frames) + f"\n{type(error).__name__}")
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\ncaused by\n".join(found)


class LogQueue(QueueHandler):
    """Formats at once, so that the line says what was true then; a thread writes. `on_lost` counts lost lines."""

    def __init__(self, stream: TextIO) -> None:
        self._closing = False
        self._lines: queue.Queue[Any] = queue.Queue(_LINES)
        super().__init__(self._lines)
        self.on_lost: Callable[[str, int], None] = lambda reason, count: None  # noqa: ARG005
        self._writer = _LineWriter(self.queue, stream.fileno(), lambda: self.on_lost("disk", 1))
        with interrupts_deferred():
            self._writer.start()

    def prepare(self, record: logging.LogRecord) -> str:
        return self.format(record) + "\n"

    def enqueue(self, record: Any) -> None:
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            self.on_lost("queue_full", 1)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name of the base class
        """Nothing: a line that cannot be made must not end the request that made it."""

    def close(self) -> None:
        """Write what waits, within a second; count the rest as lost."""
        if self._closing:  # logging closes every handler once more when the process ends
            return
        self._closing = True
        ending = threading.Thread(target=self._writer.stop, daemon=True)
        with interrupts_deferred():
            ending.start()
        ending.join(1.0)
        if ending.is_alive():
            with suppress(queue.Empty):
                while self._lines.get_nowait():
                    self.on_lost("shutdown", 1)
        super().close()


class _LineWriter(QueueListener):
    def __init__(self, lines: Any, descriptor: int, lost: Callable[[], None]) -> None:
        super().__init__(lines)
        self._descriptor = descriptor
        self._lost = lost

    def handle(self, record: Any) -> None:
        rest = memoryview(record.encode("utf-8", "replace"))
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError:
            self._lost()

    def enqueue_sentinel(self) -> None:
        self.queue.put(self._sentinel)  # type: ignore[attr-defined]  # waits for room, unlike the base class


@contextmanager
def logging_of(settings: LogSettings, release: str, stream: TextIO | None = None) -> Iterator[LogQueue]:
    """Send every log of the process to `stream` (default: stderr) in one format."""
    out = stream or sys.stderr
    text = settings.format == "text" or (settings.format == "auto" and out.isatty())
    handler = LogQueue(out)
    handler.setFormatter(TextFormatter() if text else JsonFormatter(release))
    root = logging.getLogger()
    levels = {
        # Libraries speak up when something is wrong; their debug lines may hold requests.
        root: logging.WARNING,
        # The exporters tell every attempt; export_queue.py tells each outage once.
        logging.getLogger("opentelemetry.exporter"): logging.CRITICAL,
        logging.getLogger("sluice"): logging.getLevelNamesMapping()[settings.level.upper()],
        _access: logging.INFO if settings.access else logging.CRITICAL,
    }
    before, handlers = {logger: logger.level for logger in levels}, root.handlers
    root.handlers = [handler]
    for logger, level in levels.items():
        logger.setLevel(level)
    try:
        yield handler
    finally:
        for logger, level in before.items():
            logger.setLevel(level)
        root.handlers = handlers
        handler.close()


def access_line(trace: Trace) -> None:
    if not _access.isEnabledFor(logging.INFO):
        return
    fields: dict[str, Any] = {"route": trace.route, "status": trace.status, "ms": round(trace.seconds * 1000, 1)}
    if trace.error:
        fields["error"] = trace.error
    for step in trace.steps:
        seen = step.attributes
        if step.name == RETRIEVE:
            fields["retrieve_ms"] = round(step.seconds * 1000, 1)
            fields["hits"] = seen.get("sluice.retrieval.hits", 0)
        elif step.name in (CONDENSE, CHAT):
            fields["model_ms"] = round(fields.get("model_ms", 0) + step.seconds * 1000, 1)
            fields["tokens_in"] = fields.get("tokens_in", 0) + seen.get("gen_ai.usage.input_tokens", 0)
            fields["tokens_out"] = fields.get("tokens_out", 0) + seen.get("gen_ai.usage.output_tokens", 0)
        elif step.name in GUARDS:
            fields[step.name.replace(" ", "_")] = seen.get("sluice.guard.verdict", "")
    _access.info("request", extra={"fields": fields, "trace": trace})
