"""Commands and settings that were removed, each with its replacement."""

from __future__ import annotations

from pathlib import Path

from sluice.core.errors import SluiceError

_SEARCH = "queue experiments with `dvc exp run --queue --set-param` (engine/docs/reference/training.md#search)"
_PROXY = "set limits in the proxy in front (docs/operate.md#connections)"
_GATEWAY = "set budgets in an LLM gateway such as LiteLLM (docs/operate.md#api-keys)"
_HISTORY = "keep the history in the caller (engine/docs/reference/service.md#conversations)"
_VALIDATOR = "take a validator of guardrails-ai (engine/docs/reference/guardrails.md#validators-of-guardrails-ai)"
# A command, a key of a file or a check (`FILE: NAME`), or a whole file of config/.
REMOVED = {
    "sluice sweep": _SEARCH,
    "params.yaml: sweep": _SEARCH,
    "sluice conversations": _HISTORY,
    "conversations.yaml": _HISTORY,
    "service.yaml: limits.connections": _PROXY,
    "budgets.yaml": _GATEWAY,
    "guardrails.yaml: toxicity": _VALIDATOR,
    "gates.yaml: comparison.metrics.toxicity": _VALIDATOR,
    "gates.yaml: drift.psi": "set `difference: 0.1`, of two means (engine/docs/reference/data.md#drift)",
}


def replacement(name: str) -> str:
    """Return ` (removed: …)` for a name of the table, an empty string for every other."""
    return f" (removed: {REMOVED[name]})" if name in REMOVED else ""


def refuse_files(config: Path) -> None:
    """Raise SluiceError if a folder of config files has one that nothing reads any more."""
    for name in REMOVED:
        if (config / name).is_file():
            raise SluiceError(f"{config / name}: this file was removed", remedy=f"delete it, and {REMOVED[name]}")
