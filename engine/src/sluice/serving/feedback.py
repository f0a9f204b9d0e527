"""User feedback on answers: one JSON line each in .sluice/feedback/<day>.jsonl.

An id is signed instead of looked up, as another replica may have given the answer."""

from __future__ import annotations

import hmac
import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from sluice.core.errors import SluiceError
from sluice.guardrails.check import BoundedCache
from sluice.guardrails.checks.leaks import redact
from sluice.serving.auth import Caller
from sluice.serving.request_schema import FeedbackRequest
from sluice.serving.telemetry.export_queue import append_whole, locked

MOST_SCORES = 3  # of a key for an answer: the one that counts, another one, a comment
_log = logging.getLogger(__name__)
_TRACE, _PROOF = 32, 16  # hexadecimal digits
_REMEMBERED = 16_384  # answers, and answers that were scored
_PROOFS: BoundedCache[str] = BoundedCache(_REMEMBERED)  # of what this process answered, by trace id
_MOST_BYTES = 64 << 20  # a day and process; about 100,000 lines with a comment


class FeedbackError(SluiceError):
    """The feedback couldn't be kept."""


@dataclass(frozen=True)
class Feedback:
    """`release` gave the answer; `score` is from 0 (bad) to 1 (good); `comment` is redacted."""

    time: str
    release: str
    trace_id: str
    score: float
    comment: str
    key: str | None
    tenant: str | None


def proof_of(caller: Caller, trace_id: str, release: str) -> str:
    """Sign the trace id of an answer. This process remembers it, and takes the trace id alone, too."""
    _PROOFS[trace_id] = proof = _proof(caller, trace_id, release)
    return proof


def _proof(caller: Caller, trace_id: str, release: str) -> str:
    told = f"{trace_id} {release} {caller.tenant or ''}".encode()
    return hmac.new(caller.signing, told, "sha256").hexdigest()[:_PROOF]


def feedback_of(request: FeedbackRequest, release: str, caller: Caller) -> Feedback | None:
    """Return the record of a request, or None if no answer to this tenant has had its id. `release` takes it, and
    needn't be the one that answered."""
    answered_by, given = request.release or release, request.trace_id.rpartition("-")[2].rpartition("_")[2]
    trace_id = given[:_TRACE]
    proof = given[_TRACE:] or _PROOFS.get(trace_id, "")
    if not hmac.compare_digest(proof, _proof(caller, trace_id, answered_by)):
        return None
    return Feedback(
        time=datetime.now(UTC).isoformat(timespec="milliseconds"),
        release=answered_by,
        trace_id=trace_id,
        score=float(request.score),
        comment=redact(request.comment.strip()),
        key=caller.key,
        tenant=caller.tenant,
    )


class FeedbackLog:
    """Keeps feedback in `folder`, and hands each record on to `forward` when it is on disk."""

    def __init__(self, folder: Path, forward: Callable[[Feedback], None] | None = None) -> None:
        self._folder = folder
        self._forward = forward
        self._scores: BoundedCache[int] = BoundedCache(_REMEMBERED)

    def keep(self, feedback: Feedback) -> int:
        """Append a line unless its key has scored its answer MOST_SCORES times; return how often it has before. Blocks,
        so call it in a thread."""
        scored = f"{feedback.key} {feedback.trace_id}"
        line = json.dumps(asdict(feedback), ensure_ascii=False, allow_nan=False).encode("utf-8", "replace") + b"\n"
        path = self._folder / f"{feedback.time[:10]}.jsonl"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with locked(self._folder):
                if (before := self._scores.get(scored, 0)) >= MOST_SCORES:
                    return before
                if path.exists() and path.stat().st_size + len(line) > _MOST_BYTES:
                    raise FeedbackError(f"{path}: holds {_MOST_BYTES >> 20} MiB already", remedy="move it away")
                append_whole(path, line)
                self._scores[scored] = before + 1
        except OSError as error:
            raise FeedbackError(f"{path}: {error.strerror}", remedy="free some space, or fix its rights") from error
        if self._forward:
            try:
                self._forward(feedback)
            except Exception:
                _log.exception("feedback was kept, but not handed on")
        return before
