"""What the extra `deployment_types` adds, and what belongs to it."""

from __future__ import annotations

from sluice.core.extras import Extra

EXTRA = Extra(
    summary="rehearses blue-green, rolling, shadow and A/B deployments on one machine: `sluice rehearse --type`",
    hooks={"deployment_type": "deployment_types:read_type"},
    lines={
        "engine/docs/reference/holding-up.md": ("| A bad release meets no visitor of",),
        "engine/docs/reference/rollout.md": (
            "### Other types of deployment",
            "`sluice rehearse RELEASE --type TYPE` walks",
            "| `--type` | visitors",
            "|----|---|---|",
            "| `blue-green` | none, then",
            "| `shadow` | none while",
            "| `ab` | those whose key",
            "| `rolling` | as many as",
            "The shares are counted from",
            "`engine/tests/unit/cluster/test_deployment_types.py`.",
        ),
    },
)
