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
            "For swapped facts use the judge",
            "## The judge",
            "a model of 135 million parameters cannot judge",
            "It is asked with `prompts/judge.prompt.yml`",
            "Its reply must be one line",
            "a second one is an error of the metric",
            "sluice judge calibrate",
            "lets it grade 52 answers",
            "words, an order to the judge among them",
            "each case in which it differs",
            "was no verdict. `--cases FILE`",
            "extras/calibration/cases/judge.jsonl",
            "Kappa is (agreement − agreement by chance)",
            "agreement with the agreement by chance held",
        ),
    },
)
