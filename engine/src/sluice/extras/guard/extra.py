"""What the extra `guard` adds, and what belongs to it."""

from __future__ import annotations

from sluice.core.extras import Extra

EXTRA = Extra(
    summary="trains the guard model that finds attacks: the stage `guard`",
    commands="cli:register",
    hooks={"data_check": "guard_rows:check_guard"},
    parameters={"guard": "guard_parameters:GuardParameters"},
    files=(
        "engine/benchmarks/guard_attacks.py",
        "engine/benchmarks/guard_figures.py",
        "engine/docs/decisions/guard-model.md",
        "engine/docs/figures/guardrails.md",
    ),
    lines={"engine/docs/reference/pipeline.md": ("| guard |", "| `guard` |")},
    entries={
        "config/guardrails.yaml": (
            "input > check=attack",
            "input > check=toxicity",
            "passages > check=attack",
            "output > check=toxicity",
        ),
        "pipelines/dvc.yaml": (
            "stages > code > outs > build/code/guard.txt",
            "stages > guard",
            "stages > evaluate > deps > =build/guard/guard.safetensors",
        ),
        "pipelines/params.yaml": ("guard",),
    },
)
