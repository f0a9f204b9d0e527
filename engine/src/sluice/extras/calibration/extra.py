"""What the extra `calibration` adds, and what belongs to it."""

from __future__ import annotations

from sluice.core.extras import Extra

EXTRA = Extra(
    summary="the metric `judge`: a language model grades answers; compares it with people",
    needs=("prompt_tests",),
    commands="cli:register",
    hooks={"judge": "release_judge:open_judge"},
    files=("prompts/judge.prompt.yml",),
    entries={"config/gates.yaml": ("gates > stage=calibration",)},
    lines={
        "config/gates.yaml": ("-- calibration: the judge against people",),
        "engine/docs/reference/prompts.md": ("| `judge` | the metric",),
        "engine/docs/reference/metrics.md": (
            "| `judge` | assertion",
            "## The judge",
            "a model of 135 million parameters cannot judge",
            "sluice judge calibrate",
            "lets it grade 52 answers",
        ),
    },
)
