"""Checks as guardrails-ai validators. Imports guardrails-ai (3.5 s): import this module inside functions only."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from guardrails import AsyncGuard, Validator, register_validator, settings
from guardrails.validator_base import ErrorSpan, FailResult, PassResult

from sluice.guardrails.registry import CHECKS
from sluice.guardrails.settings import CheckSettings

NAMESPACE = "sluice/"


@cache
def validator_class(name: str) -> type[Any]:
    """The validator class of one check, registered with guardrails-ai as `sluice/<name>`."""
    find = CHECKS[name].find

    @register_validator(name=NAMESPACE + name, data_type="string")
    class CheckValidator(Validator):  # type: ignore[misc]
        """Findings become error spans; what to do about them is decided by Guards."""

        def __init__(self, options: Any) -> None:
            super().__init__(on_fail="noop")
            self.options = options

        def _validate(self, value: str, metadata: dict[str, Any]) -> Any:  # noqa: ARG002 - the signature of the library
            found = find(value, self.options)
            if not found:
                return PassResult()
            spans = [ErrorSpan(start=f.start, end=f.end, reason=f.reason) for f in found]
            return FailResult(error_message=", ".join(sorted({f.reason for f in found})), error_spans=spans)

        async def async_validate(self, value: str, metadata: dict[str, Any]) -> Any:
            # The library's own version hops through a thread for each validator; these checks take microseconds.
            return self._validate(value, metadata)

    CheckValidator.__name__ = CheckValidator.__qualname__ = name
    return CheckValidator


def build_guard(stage: Sequence[CheckSettings]) -> Any:
    """One AsyncGuard for a stage: no telemetry, no tracing, and no history of texts beyond the last call."""
    settings.disable_tracing = True
    guard = AsyncGuard(history_max_length=1)
    guard.configure(allow_metrics_collection=False)
    guard.use(*(validator_class(entry.check)(entry.parsed()) for entry in stage))  # a second use() replaces the first
    return guard
