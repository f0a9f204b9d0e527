"""User feedback on answers: one JSON line each in .sluice/feedback/<day>.jsonl.

An id is not looked up: the answer may have come from another replica, or from this one before it was restarted. Ids are
128 random bits, so no caller guesses another's, and each line names the key that sent it.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from sluice.core.errors import SluiceError
from sluice.guardrails.redaction import redact
from sluice.serving.auth import Caller
from sluice.serving.request_schema import FeedbackRequest

_log = logging.getLogger(__name__)
_MOST_BYTES = 64 << 20  # a day and process; about 100,000 lines with a comment


class FeedbackError(SluiceError):
    """It could not be kept."""


@dataclass(frozen=True)
class Feedback:
    """`release`: the one that answered. `trace_id`: 32 hex digits, the answer's id without its prefix. `score`: 0 bad,
    1 good. `comment`: redacted."""

    time: str
    release: str
    trace_id: str
    score: float
    comment: str
    key: str | None
    tenant: str | None


def feedback_of(request: FeedbackRequest, release: str, caller: Caller) -> Feedback:
    """The record of a request, with personal data and secrets taken out of the comment. `release`: the one that takes
    it, which while a canary runs may be another than the one that answered."""
    return Feedback(
        time=datetime.now(UTC).isoformat(timespec="milliseconds"),
        release=request.release or release,
        trace_id=request.trace_id[-32:],
        score=float(request.score),
        comment=redact(request.comment.strip()),
        key=caller.key,
        tenant=caller.tenant,
    )


class FeedbackLog:
    """Keeps feedback in `folder`, and hands each record on to `forward` (a tracer) when it is safe on disk."""

    def __init__(self, folder: Path, forward: Callable[[Feedback], None] | None = None) -> None:
        self._folder = folder
        self._forward = forward
        self._lock = threading.Lock()

    def keep(self, feedback: Feedback) -> None:
        """Appends one line. Raises FeedbackError when the disk does not take it; blocks, so call it in a thread."""
        line = json.dumps(asdict(feedback), ensure_ascii=False, allow_nan=False).encode("utf-8", "replace") + b"\n"
        path = self._folder / f"{feedback.time[:10]}.jsonl"
        try:
            with self._lock:
                self._append(path, line)
        except OSError as error:
            raise FeedbackError(f"{path}: {error.strerror}", remedy="free some space, or mend its rights") from error
        if self._forward:
            try:
                self._forward(feedback)
            except Exception:
                _log.exception("feedback was kept, but not handed on")

    def _append(self, path: Path, line: bytes) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        # One write to a file opened for appending: lines of two processes do not mix.
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            if os.fstat(handle).st_size + len(line) > _MOST_BYTES:
                raise FeedbackError(f"{path}: holds {_MOST_BYTES >> 20} MiB already", remedy="move it away")
            os.write(handle, line)
        finally:
            os.close(handle)
