"""What the extra `guard` adds, and what belongs to it."""

from __future__ import annotations

from sluice.core.extras import Extra

_CHECKS = (
    "input > check=attack",
    "passages > check=attack",
)
EXTRA = Extra(
    summary="finds attacks: the guard model, its training, the stage `guard` and the checks",
    commands="cli:register",
    hooks={"data_check": "guard_rows:check_guard", "guard_model": "guard_model:load_guard_model"},
    parameters={"guard": "guard_rows:GuardParameters"},
    files=(
        "engine/benchmarks/guard_attacks.py",
        "engine/benchmarks/guard_cost.py",
        "engine/benchmarks/guard_figures.py",
        "engine/benchmarks/guard_streaming.py",
        "engine/docs/decisions/guard-model.md",
        "engine/tests/support/guard_models.py",
    ),
    lines={
        "engine/docs/reference/guardrails.md": ("| `attack` |", "| `topic` |"),
        "engine/docs/reference/pipeline.md": ("| guard |", "| `guard` |"),
    },
    entries={
        "config/guardrails.yaml": _CHECKS,
        "engine/tests/starter/config/guardrails.yaml": _CHECKS,
        "pipelines/dvc.yaml": (
            "stages > code > outs > build/code/guard.txt",
            "stages > guard",
            "stages > evaluate > deps > =build/guard/guard.safetensors",
        ),
        "pipelines/params.yaml": ("guard",),
    },
)
