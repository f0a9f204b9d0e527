"""What the extra `groundedness` adds, and what belongs to it."""

from __future__ import annotations

from sluice.core.extras import Extra

_POLICY = ("comparison > metrics > groundedness",)
EXTRA = Extra(
    summary="the metric `groundedness`: the share of the answer's sentences that a passage supports",
    entries={"config/gates.yaml": _POLICY, "engine/tests/starter/config/gates.yaml": _POLICY},
    lines={
        "engine/docs/reference/metrics.md": (
            "| `groundedness` |",
            "**Groundedness** ",
            "| sentences of groundedness |",
            "|---|---|---|---|",
            "| tuned | 61 |",
            "| held out | 44 |",
            "For groundedness, the limits",
        ),
    },
)
