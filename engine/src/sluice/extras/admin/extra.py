"""What the extra `admin` adds, and what belongs to it."""

from __future__ import annotations

from sluice.core.extras import Extra

EXTRA = Extra(
    summary="looks after vector stores and the cache of models: lists, verifies, prunes, drops",
    commands="cli:register",
    files=("engine/benchmarks/tenants.py",),
    lines={"engine/docs/reference/failures.md": ("unit/extras/admin/test_killed.py",)},
    entries={"config/gates.yaml": ("gates > stage=index",)},
)
