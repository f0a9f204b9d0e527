"""The log of the service: one JSON object a line, or plain lines on a terminal.

It holds codes, names, figures and ids; never a question, an answer or a key. Lines carry the trace id, the release and
the tenant of their request. A separate thread writes them: a full disk or a blocked reader loses lines, which are
counted, and never delays a request.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

import orjson

from sluice.guardrails.redaction import redact
from sluice.serving.telemetry.background_queue import BackgroundQueue, BatchLostError
from sluice.serving.telemetry.traces import CHAT, CONDENSE, GUARDS, RETRIEVE, Trace, current_trace

if TYPE_CHECKING:
    from sluice.serving.telemetry.settings import LogSettings

ACCESS = "sluice.access"
_LINES = 10_000
_LONGEST = 1000  # characters of a message
_access = logging.getLogger(ACCESS)


class JsonFormatter(logging.Formatter):
    """Keys: time (UTC), level, logger, message, release, then trace and tenant of the request, then the line's own."""

    def __init__(self, release: str) -> None:
        super().__init__()
        self._release = release

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _utc(record.created),
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
        return orjson.dumps(line, default=str).decode()


class TextFormatter(logging.Formatter):
    """For people: time, level, message, then the fields as name=value."""

    def format(self, record: logging.LogRecord) -> str:
        fields = " ".join(f"{name}={value}" for name, value in getattr(record, "fields", {}).items())
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        line = f"{clock} {record.levelname.lower():<7} {_message(record)} {fields}".rstrip()
        return f"{line}\n{_places(record)}" if record.exc_info and record.exc_info[0] else line


def _message(record: logging.LogRecord) -> str:
    """Messages of errors may quote what a server said: redacted, and cut. Lines of fields are ours."""
    message = record.getMessage()
    if not hasattr(record, "fields"):
        message = redact(message[:_LONGEST])
    return message.encode("utf-8", "replace").decode()


def _utc(seconds: float) -> str:
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{int(seconds % 1 * 1000):03}Z"


def _places(record: logging.LogRecord) -> str:
    """Files, lines and classes of an exception and its causes, without their messages: they may quote a user."""
    import traceback

    found = []
    error = record.exc_info[1] if record.exc_info else None
    while error is not None:
        frames = traceback.extract_tb(error.__traceback__)
        found.append("\n".join(f"  {f.filename}:{f.lineno} in {f.name}" for f in frames) + f"\n{type(error).__name__}")
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\ncaused by\n".join(found)


class BackgroundHandler(logging.Handler):
    """Formats at once, so that the line says what was true then; writes in its thread.

    `on_lost(reason, count)` is set by the metrics and counts lost lines."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self.on_lost: Callable[[str, int], None] = lambda reason, count: None  # noqa: ARG005
        self._descriptor = stream.fileno()
        self._broken = False
        self._background: BackgroundQueue[str] = BackgroundQueue(
            "log", self._write, lambda reason, count: self.on_lost(reason, count), capacity=_LINES, batch=256, every=0.1
        )

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._background.put(self.format(record))
        except Exception:  # a line that cannot be made must not end the request that made it
            self.handleError(record)
        if record.levelno >= logging.WARNING:
            self._background.wake()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name of the base class
        """Nothing: the base class would write to the stream that is in trouble."""

    def close(self) -> None:
        self._background.close(1.0)
        super().close()

    def _write(self, lines: list[str]) -> None:
        rest = memoryview(("\n".join(lines) + "\n").encode("utf-8", "replace"))
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError as error:
            raise BatchLostError("disk", error.strerror or "") from None


@contextmanager
def logging_of(settings: LogSettings, release: str, stream: TextIO | None = None) -> Iterator[BackgroundHandler]:
    """Sends the log of the service, of uvicorn and of every library to `stream` (default: stderr) in one format.

    At the end what waits is written, and logging is as it was."""
    out = stream or sys.stderr
    text = settings.format == "text" or (settings.format == "auto" and out.isatty())
    handler = BackgroundHandler(out)
    handler.setFormatter(TextFormatter() if text else JsonFormatter(release))
    root = logging.getLogger()
    levels = {
        # Libraries speak up when something is wrong; their debug lines may hold requests.
        root: logging.WARNING,
        logging.getLogger("sluice"): logging.getLevelNamesMapping()[settings.level.upper()],
        _access: logging.INFO if settings.access else logging.CRITICAL,
    }
    before = [(logger, logger.level) for logger in levels], root.handlers
    root.handlers = [handler]
    for logger, level in levels.items():
        logger.setLevel(level)
    try:
        yield handler
    finally:
        for logger, level in before[0]:
            logger.setLevel(level)
        root.handlers = before[1]
        handler.close()


def access_line(trace: Trace) -> None:
    """One line about a finished request: status, times in milliseconds, tokens, verdicts."""
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
