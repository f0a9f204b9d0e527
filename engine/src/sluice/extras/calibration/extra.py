"""What the extra `calibration` adds, and what belongs to it."""

from __future__ import annotations

from sluice.core.extras import Extra

EXTRA = Extra(
    summary="compares the judge of answers with people",
    commands="cli:register",
    entries={"config/gates.yaml": ("gates > stage=calibration",)},
    lines={
        "config/gates.yaml": ("-- calibration: the judge against people",),
        "engine/docs/reference/metrics.md": (
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
