"""What the extra `clients` adds, and what belongs to it."""

from __future__ import annotations

from sluice.core.extras import Extra

EXTRA = Extra(
    summary="tools and forms of the caller's own, the Responses API, and an MCP server",
    hooks={
        "caller_options": "options:read_options",
        "local_form": "local_form:held",
        "routes": "routes:add_routes",
    },
    files=(
        "engine/benchmarks/forms.py",
        "engine/docs/decisions/callers-own.md",
        "engine/tests/support/forms.py",
    ),
    lines={
        "engine/docs/decisions/README.md": ("(callers-own.md)",),
        "engine/docs/reference/api.md": ("`POST /v1/responses`", "`POST /mcp`"),
        "engine/requirements/dev.in": ("instructor>=",),
        "engine/requirements/serve.in": ("mcp>=", "jsonschema-rs>="),
        "engine/docs/reference/guardrails.md": ("| `format` |",),
    },
)
