"""The two guards of a release: one for questions, one for answers. Fail closed: a check that breaks is a refusal."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sluice.guardrails.check import Action
    from sluice.guardrails.settings import CheckSettings, GuardrailSettings

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """`text`: what may go on (redacted where asked; empty when blocked). `reasons`: sorted codes of all findings."""

    text: str
    blocked: bool
    reasons: tuple[str, ...]


class Guards:
    """Safe for many concurrent requests. Building one imports guardrails-ai, about 3.5 s."""

    def __init__(self, settings: GuardrailSettings) -> None:
        self._input = _Stage(settings.input)
        self._output = _Stage(settings.output)

    async def check_input(self, text: str) -> Outcome:
        """The verdict on a question."""
        return await self._input.check(text)

    async def check_output(self, text: str) -> Outcome:
        """The verdict on an answer, or on one sentence of it."""
        return await self._output.check(text)


class _Stage:
    def __init__(self, checks: Sequence[CheckSettings]) -> None:
        from sluice.guardrails.validators import build_validators, failures

        self._validators = build_validators(checks)
        self._failures = failures
        self._actions = {entry.check: entry.action for entry in checks}

    async def check(self, text: str) -> Outcome:
        if not text:
            return Outcome(text, False, ())
        try:
            spans = await self._failures(self._validators, text)
        except Exception:
            _log.exception("a guardrail check broke; the text is refused")
            return Outcome("", True, ("guardrails.error",))
        return _outcome(text, spans, self._actions)


def _outcome(text: str, spans: Iterable[Any], actions: Mapping[str, Action]) -> Outcome:
    redact: list[tuple[int, int, str]] = []
    reasons: set[str] = set()
    blocked = False
    for span in spans:
        reasons.add(span.reason)
        if actions[span.reason.partition(".")[0]] == "block":
            blocked = True
        else:
            redact.append((span.start, span.end, span.reason))
    return Outcome("" if blocked else redacted(text, redact), blocked, tuple(sorted(reasons)))


def redacted(text: str, spans: Iterable[tuple[int, int, str]]) -> str:
    """Each span replaced by a label of its kind; of spans that overlap the first, then longest, names the whole."""
    pieces: list[str] = []
    done = 0
    for start, end, reason in sorted(spans, key=lambda span: (span[0], -span[1])):
        if start >= done:
            kind = reason.rpartition(".")[2].replace("_", " ")
            pieces += [text[done:start], f"[redacted: {kind}]"]
        done = max(done, end)
    return "".join([*pieces, text[done:]])
