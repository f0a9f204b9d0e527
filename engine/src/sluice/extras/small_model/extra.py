"""What the extra `small_model` adds, and what belongs to it."""

from __future__ import annotations

from sluice.core.extras import Extra

EXTRA = Extra(
    summary="helps a small model: chooses sentences, mends spelling, declines what the passages leave out",
    hooks={"small_model": "assistance:SmallModelAssistance"},
    entries={"config/service.yaml": ("small_model",), "engine/tests/starter/config/service.yaml": ("small_model",)},
    files=("engine/benchmarks/evidence_weights.py",),
)
