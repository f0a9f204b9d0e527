"""Validators of other packages for guardrails-ai, which takes 3.5 s to import: import this module in functions only."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from typing import Any

from guardrails.settings import settings
from guardrails.validator_base import FailResult, PassResult, validators_registry

from sluice.core.errors import SluiceError
from sluice.guardrails.check import CHECKS, GuardOutcome, redacted
from sluice.guardrails.settings import CheckSettings

settings.rc.enable_metrics = False  # or each validator reports to the vendor


def _external(entry: CheckSettings) -> Any:
    """Return a validator of src/assistant/guardrails/, or of the package guardrails-ai-<name>."""
    name = entry.check
    if name not in validators_registry:
        len(CHECKS)  # imports the application's
        module = f"guardrails_ai.{name.partition('/')[2].replace('-', '_')}"
        if name not in validators_registry and find_spec(module):
            importlib.import_module(module)
    if name not in validators_registry:
        raise SluiceError(
            f"config/guardrails.yaml: no validator {name!r} is registered with guardrails-ai",
            remedy=f"install its package, which has the module {module}; or import it in src/assistant/guardrails/",
        )
    try:
        made = validators_registry[name](on_fail="noop", **entry.options)
    except Exception as error:  # it is somebody's code
        raise SluiceError(f"config/guardrails.yaml: options of {name}: {type(error).__name__}: {error}") from error
    made.use_local = entry.options.get("use_local", True)  # else some would send the text to the vendor
    return made


def judge_of(stage: Sequence[CheckSettings]) -> Callable[[GuardOutcome], GuardOutcome]:
    """Return a function that shows validators a text that our checks let pass."""
    return partial(_judge, [(entry, _external(entry)) for entry in stage])


def _judge(stage: Sequence[tuple[CheckSettings, Any]], outcome: GuardOutcome) -> GuardOutcome:
    """Show a text to validators in turn, each as the one before left it; RuntimeError where one gives no verdict."""
    text, reasons = outcome.text, list(outcome.reasons)
    for entry, validator in stage:
        result = validator.validate(text, {})
        if isinstance(result, PassResult):
            if validator.override_value_on_pass and isinstance(result.value_override, str):
                text = result.value_override
            continue
        if not isinstance(result, FailResult):
            raise RuntimeError(f"{entry.check} gave no verdict: {type(result).__name__}")
        reasons.append(f"{entry.check}.failed")
        if entry.action == "annotate":
            continue
        fixed = _fixed(text, result) if entry.action == "redact" else None
        if fixed is None:
            return GuardOutcome("", True, tuple(sorted(reasons)), entry.action == "reask")
        text = fixed
    return GuardOutcome(text, False, tuple(sorted(reasons)))


def _fixed(text: str, result: Any) -> str | None:
    """Return the validator's own fix, or the text without the places it names."""
    if isinstance(result.fix_value, str):
        return result.fix_value
    spans = [(span.start, span.end, span.reason) for span in result.error_spans or ()]
    return redacted(text, spans) if spans else None
