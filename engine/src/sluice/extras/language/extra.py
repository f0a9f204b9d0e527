"""What the extra `language` adds, and what belongs to it."""

from __future__ import annotations

from sluice.core.extras import Extra

_POLICY = ("comparison > metrics > same_language",)
EXTRA = Extra(
    summary="the metrics `language` and `same_language`: in which language is answered, and whether it was asked in it",
    entries={"config/gates.yaml": _POLICY, "engine/tests/starter/config/gates.yaml": _POLICY},
    lines={
        "engine/docs/decisions/metric-libraries.md": ("- `py3langid` for languages",),
        "engine/docs/reference/metrics.md": ("| `language` |", "| `same_language` |", "**Language.** "),
    },
)
