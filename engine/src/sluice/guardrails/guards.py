"""The guards of a release. They fail closed: a check that crashes or times out refuses the text."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from sluice.guardrails.check import (
    CHECKS,
    Action,
    BoundedCache,
    CheckContext,
    CheckResources,
    Finding,
    GuardOutcome,
    redacted,
)

if TYPE_CHECKING:
    from sluice.guardrails.settings import CheckSettings, GuardrailSettings

Result = TypeVar("Result")
_log = logging.getLogger(__name__)
ERROR, TIMEOUT = "guardrails.error", "guardrails.timeout"
BROKEN = frozenset((ERROR, TIMEOUT))
_THREADS = 16  # side by side; what waits for the embedder at the same time is embedded together
_REMEMBERED = 2048  # verdicts on passages
_SHORT = 4096  # characters that patterns read in about a millisecond; more is read beside the event loop
_REFUSING: frozenset[Action] = frozenset(("block", "drop", "reask"))


class Guards:
    """The checks of all stages, for many concurrent requests. SluiceError when `resources` lacks what one needs."""

    def __init__(self, settings: GuardrailSettings, resources: CheckResources | None = None) -> None:
        resources = resources or CheckResources()
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="guard")
        self._known: BoundedCache[GuardOutcome] = BoundedCache(_REMEMBERED)
        self._input, self._passages, self._output = (
            _GuardStage(checks, resources, self._threads, settings.timeout_seconds)
            for checks in (settings.input, settings.passages, settings.output)
        )

    async def check_input(self, text: str, earlier: Sequence[str] = ()) -> GuardOutcome:
        return await self._input.check(text, tuple(earlier))

    async def check_passage(self, text: str) -> GuardOutcome:
        """Check a passage with its title and file name. Verdicts are remembered: passages come again and again."""
        if (known := self._known.get(text)) is None:
            known = await self._passages.check(text)
            if BROKEN.isdisjoint(known.reasons):
                self._known[text] = known
        return known

    async def check_output(self, text: str, links: Sequence[str] = ()) -> GuardOutcome:
        return await self._output.check(text, links=tuple(links))


class NoChecks:
    """Guards that let everything pass."""

    async def check_input(self, text: str, earlier: Sequence[str] = ()) -> GuardOutcome:  # noqa: ARG002
        return GuardOutcome(text, False, ())

    async def check_passage(self, text: str) -> GuardOutcome:
        return GuardOutcome(text, False, ())

    async def check_output(self, text: str, links: Sequence[str] = ()) -> GuardOutcome:  # noqa: ARG002
        return GuardOutcome(text, False, ())


class _GuardStage:
    def __init__(
        self,
        checks: Sequence[CheckSettings],
        resources: CheckResources,
        threads: ThreadPoolExecutor,
        timeout_seconds: float,
    ) -> None:
        self._checks = [CHECKS[one.check](one.parsed(), resources) for one in checks if not one.external]
        self._others: Callable[[GuardOutcome], GuardOutcome] | None = None
        if external := [one for one in checks if one.external]:
            from sluice.guardrails.validators import judge_of

            self._others = judge_of(external)
        self._actions: dict[str, Action] = {entry.check: entry.action for entry in checks}
        asking = {entry.check for entry in checks if entry.asks("needs_embedder")}
        self._doubts = "attack" in asking
        # What asks the embedder in any case, or is somebody's code, does not hold up the event loop.
        self._always_beside = bool(asking - {"attack"} or self._others)
        self._resources = resources
        self._threads = threads
        self._timeout = timeout_seconds

    async def check(self, text: str, earlier: tuple[str, ...] = (), links: tuple[str, ...] = ()) -> GuardOutcome:
        if not text:
            return GuardOutcome(text, False, ())
        try:
            context = CheckContext(text, self._resources, earlier, links)
            if len(text) > _SHORT or self._always_beside or (earlier and self._doubts):
                return await self._beside(self._verdict, context)
            if self._doubts and context.waits:
                await self._beside(getattr, context, "attack")
            return self._verdict(context)
        except TimeoutError:
            _log.error("the guardrail checks took longer than %g s; the text is refused", self._timeout)
            return GuardOutcome("", True, (TIMEOUT,))
        except Exception:
            _log.exception("a guardrail check broke; the text is refused")
            return GuardOutcome("", True, (ERROR,))

    def _verdict(self, context: CheckContext) -> GuardOutcome:
        found = _outcome(context.text, (each for one in self._checks for each in one.find(context)), self._actions)
        return found if found.blocked or not self._others else self._others(found)

    async def _beside(self, work: Callable[..., Result], *given: Any) -> Result:
        """Run what takes long, or waits for the embedder, in a thread beside the event loop."""
        done = asyncio.get_running_loop().run_in_executor(self._threads, work, *given)
        # Not `asyncio.timeout`: where the event loop itself is late, that would also refuse what was done in time.
        return await asyncio.wait_for(done, self._timeout)


def _outcome(text: str, findings: Iterable[Finding], actions: Mapping[str, Action]) -> GuardOutcome:
    redact: list[tuple[int, int, str]] = []
    reasons: set[str] = set()
    taken: set[Action] = set()
    for one in findings:
        reasons.add(one.reason)
        action = actions[one.reason.partition(".")[0]]
        taken.add(action)
        if action == "redact":
            redact.append((one.start, one.end, one.reason))
    blocked = not taken.isdisjoint(_REFUSING)
    reask = "reask" in taken and "block" not in taken
    return GuardOutcome("" if blocked else redacted(text, redact), blocked, tuple(sorted(reasons)), reask)
