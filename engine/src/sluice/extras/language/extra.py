"""What the extra `language` adds, and what belongs to it."""

from __future__ import annotations

from sluice.core.extras import Extra

_POLICY = ("comparison > metrics > same_language", "comparison > metrics > groundedness")
EXTRA = Extra(
    summary="metrics of the text of answers: `language`, `same_language`, and `groundedness` in the passages",
    entries={"config/gates.yaml": _POLICY, "engine/tests/starter/config/gates.yaml": _POLICY},
    lines={
        "engine/docs/decisions/metric-libraries.md": ("- `py3langid` for languages",),
        "engine/docs/reference/metrics.md": (
            "| `language` |",
            "| `same_language` |",
            "| `groundedness` |",
            "**Language.** ",
            "**Groundedness.** ",
            "| sentences | cases | agreement",
            "| tuned | 61",
            "| held out | 44",
        ),
    },
)
