"""What the extra `first_release` adds, and what belongs to it."""

from __future__ import annotations

from sluice.core.extras import Extra

EXTRA = Extra(
    summary="judges the first release of an environment of a cluster before a route leads visitors to it",
    hooks={"first_release": "first_release:first_release"},
    lines={
        "docs/cluster.md": ("A first release",),
        "engine/docs/reference/deployment.md": ("| nothing deployed before, by the extra `first_release` |",),
    },
)
