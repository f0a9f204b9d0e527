"""What the extra `tools` adds, and what belongs to it."""

from __future__ import annotations

from sluice.core.extras import Extra

EXTRA = Extra(
    summary="tools that the model may call: functions and MCP servers, bounded, and approved where they write",
    commands="cli:register",
    hooks={
        "agent": "release_agent:make_agent",
        "case_note": "expected_calls:parting",
        "data_check": "expected_calls:check_rows",
        "evaluated_case": "expected_calls:evaluated_case",
        "routes": "routes:add_routes",
        "tool_pins": "settings:tool_pins",
    },
    files=("config/tools.yaml", "config/tools.lock.yaml", "prompts/tools.prompt.yml"),
)
