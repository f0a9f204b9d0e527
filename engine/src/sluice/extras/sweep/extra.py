"""What the extra `sweep` adds, and what belongs to it."""

from __future__ import annotations

from sluice.core.extras import Extra

EXTRA = Extra(
    summary="searches for better training parameters",
    needs=("finetune",),
    commands="cli:register",
    parameters={"sweep": "search_space:SweepSettings"},
    lines={"engine/docs/reference/pipeline.md": ("| `sweep` |",)},
    entries={"pipelines/params.yaml": ("sweep",)},
)
