"""MLflow fields of a training.json. Imports no heavy library, because a release is registered without training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FILE = "training.json"
_FIGURES = (
    "seconds",
    "tokens_per_second",
    "effective_tokens_per_second",
    "samples",
    "held",
    "skipped",
    "peak_memory_bytes",
)


def recorded_params(record: Mapping[str, Any]) -> dict[str, str]:
    found = dict(record.get("parameters", {}))
    found |= {name: record[name] for name in ("base_sha256", "data_digest") if name in record}
    found |= {f"hardware_{name}": value for name, value in record.get("hardware", {}).items()}
    return {name: str(value) for name, value in found.items()}


def recorded_metrics(record: Mapping[str, Any]) -> list[tuple[str, float, int]]:
    """Its curves and figures: (name, value, step)."""
    curves = [(name, value, step) for name in ("loss", "held_loss") for step, value in record.get(name, [])]
    figures = [(name, record[name], 0) for name in _FIGURES if record.get(name) is not None]
    return curves + figures
