"""What the extra `connections` adds, and what belongs to it."""

from __future__ import annotations

from sluice.core.extras import Extra

EXTRA = Extra(
    summary="limits of connections, headers and slow requests in the service; a proxy in front can have them instead",
    hooks={"http_protocol": "limited_protocol:limited_protocol"},
    files=(
        "engine/benchmarks/half_open.py",
        "engine/docs/decisions/connections.md",
        "engine/docs/figures/connections.md",
    ),
    lines={
        "engine/docs/decisions/README.md": ("(connections.md)",),
        "engine/docs/reference/holding-up.md": ("unit/extras/connections/",),
    },
)
