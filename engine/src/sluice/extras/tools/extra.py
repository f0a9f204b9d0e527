"""What the extra `tools` adds, and what belongs to it."""

from __future__ import annotations

from sluice.core.extras import Extra

_POLICY = ("comparison > metrics > tool_calls", "comparison > metrics > world_after")
EXTRA = Extra(
    summary="tools that the model may call: functions and MCP servers, bounded, and approved where they write",
    commands="cli:register",
    hooks={
        "agent": "release_agent:make_agent",
        "case_note": "expected_calls:parting",
        "data_check": "expected_calls:check_rows",
        "evaluated_case": "release_agent:evaluated_case",
        "routes": "routes:add_routes",
        "tool_pins": "settings:tool_pins",
    },
    files=(
        "config/tools.lock.yaml",
        "config/tools.yaml",
        "engine/benchmarks/approvals.py",
        "engine/docs/decisions/tools.md",
        "engine/docs/reference/tools.md",
        "engine/tests/starter/config/tools.lock.yaml",
        "engine/tests/starter/config/tools.yaml",
        "engine/tests/support/tool_fuzz.py",
        "prompts/tools.prompt.yml",
    ),
    entries={
        "config/gates.yaml": _POLICY,
        "engine/tests/starter/config/gates.yaml": _POLICY,
    },
    lines={
        "docs/extend.md": ("The starter's application offers it to its model", "`services.agent(model)` is that loop"),
        "engine/docs/README.md": ("(reference/tools.md)",),
        "engine/docs/decisions/README.md": ("(tools.md)",),
        "engine/docs/reference/api.md": ("`GET /v1/approvals`", "`POST /v1/approvals/{id}`"),
        "engine/docs/reference/data.md": ("| `tools` |",),
        "engine/docs/reference/manifest.md": ("| `tools` |",),
        "engine/docs/reference/metrics.md": ("| `tool_calls` |", "| `world_after` |"),
        "engine/requirements/serve.in": ("# loops that wait for an approval",),
    },
)
