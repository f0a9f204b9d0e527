"""What the extra `finetune` adds, and what belongs to it."""

from __future__ import annotations

from sluice.core.extras import Extra

EXTRA = Extra(
    summary="fine-tunes the adapter: the stage `train`",
    needs=("small_model",),
    commands="cli:register",
    hooks={"adapter": "adapter_registry:register_adapter", "take_adapter": "adapter_registry:take_adapter"},
    parameters={"train": "training_parameters:TrainingParameters"},
    files=(
        ".github/workflows/train.yml",
        "engine/benchmarks/training_speed.py",
        "engine/docs/decisions/packed-training.md",
        "engine/docs/decisions/training-recipe.md",
        "engine/docs/reference/training.md",
        "engine/docs/reference/training-plans.md",
        "prompts/finetune.prompt.yml",
    ),
    entries={
        "pipelines/dvc.yaml": (
            "stages > code > outs > build/code/train.txt",
            "stages > train",
            "stages > evaluate > deps > =build/adapter/adapter.gguf",
        ),
        "pipelines/params.yaml": ("train",),
    },
    lines={
        "engine/docs/reference/pipeline.md": ("| train |", "| `train` |"),
    },
)
