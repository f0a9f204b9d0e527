"""Checks as guardrails-ai validators. Imports guardrails-ai (3.5 s): import this module inside functions only."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from guardrails import Validator, register_validator
from guardrails.validator_base import ErrorSpan, FailResult, PassResult

from sluice.guardrails.check import CHECKS
from sluice.guardrails.context import CheckContext, CheckResources
from sluice.guardrails.settings import CheckSettings

NAMESPACE = "sluice/"
_PASSED = PassResult()  # never changed, and making one takes longer than many a check


@cache
def validator_class(name: str) -> type[Any]:
    """The validator class of one check, registered with guardrails-ai as `sluice/<name>`."""
    cls = CHECKS[name]

    @register_validator(name=NAMESPACE + name, data_type="string")
    class CheckValidator(Validator):  # type: ignore[misc]
        """Findings become error spans; what to do about them is decided by Guards."""

        def __init__(self, options: Any, resources: CheckResources) -> None:
            super().__init__(on_fail="noop")
            self.resources = resources
            self.find = cls(options, resources).find

        def _validate(self, value: str, metadata: dict[str, Any]) -> Any:
            found = self.find(metadata.get("context") or CheckContext(value, self.resources))
            if not found:
                return _PASSED
            spans = [ErrorSpan(start=f.start, end=f.end, reason=f.reason) for f in found]
            return FailResult(error_message=", ".join(sorted({f.reason for f in found})), error_spans=spans)

        async def async_validate(self, value: str, metadata: dict[str, Any]) -> Any:
            # The library's own version hops through a thread for each validator; most checks take microseconds.
            return self._validate(value, metadata)

    CheckValidator.__name__ = CheckValidator.__qualname__ = name
    return CheckValidator


def build_validators(stage: Sequence[CheckSettings], resources: CheckResources) -> tuple[Any, ...]:
    """One validator for each check of a stage, in its order; also fit for an AsyncGuard of one's own."""
    return tuple(validator_class(entry.check)(entry.parsed(), resources) for entry in stage)


def failures(validators: Sequence[Any], context: CheckContext) -> list[Any]:
    """The error spans of all validators. RuntimeError when one gives no verdict, or fails a text without a span.

    `AsyncGuard.validate` would do the same for 0.5 ms a call, which is ten times what most checks take: it builds a
    record of the call, a runner and a schema each time. A test compares its verdicts with these.
    """
    spans: list[Any] = []
    for validator in validators:
        result = validator._validate(context.text, {"context": context})
        if isinstance(result, PassResult):
            continue
        if not isinstance(result, FailResult) or not result.error_spans:
            raise RuntimeError(f"{validator.rail_alias} gave no verdict: {type(result).__name__}")
        spans += result.error_spans
    return spans
