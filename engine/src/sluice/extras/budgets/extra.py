"""What the extra `budgets` adds, and what belongs to it."""

from __future__ import annotations

from sluice.core.extras import Extra

EXTRA = Extra(
    summary="budgets of requests, tokens and dollars by key, tenant and day, across replicas; cost by tenant",
    hooks={"migrations": "service:migrations", "service": "service:open_budgets"},
    files=(
        "config/budgets.yaml",
        "engine/benchmarks/budgets.py",
        "engine/docs/reference/budgets.md",
    ),
    lines={
        "docs/operate.md": ("`config/budgets.yaml`",),
        ".containerignore": ("!config/budgets.yaml",),
        "engine/Containerfile": ("COPY config/budgets.yaml",),
        "engine/docs/README.md": ("(reference/budgets.md)",),
        "engine/docs/decisions/api-keys.md": ("**Budgets**",),
        "engine/docs/reference/monitoring.md": ("(budgets.md)",),
        "engine/docs/reference/api.md": ("`budget_exceeded`", "`budget_unavailable`"),
    },
)
