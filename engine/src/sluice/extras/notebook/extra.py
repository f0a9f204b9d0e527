"""What the extra `notebook` adds, and what belongs to it."""

from __future__ import annotations

from sluice.core.extras import Extra

EXTRA = Extra(
    summary="a notebook: data, a training run, comparison and promotion by hand",
    needs=("datakit", "finetune"),
    files=(
        "engine/tests/contract/test_notebooks.py",
        "engine/tests/unit/notebooks",
        "notebooks",
    ),
    lines={"README.md": ("notebooks/ ",)},
)
