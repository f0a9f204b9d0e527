"""What the extra `pull_requests` adds, and what belongs to it."""

from __future__ import annotations

from sluice.core.extras import Extra

_STEPS = "jobs > {0} > steps > name={1}"

EXTRA = Extra(
    summary="comments on pull requests, and opens those of parts that propose changes: rows of data, upgrades",
    commands="cli:register",
    hooks={"outdated": "pull_request_comment:mark_outdated"},
    files=("engine/docs/decisions/pull-request-comment.md",),
    entries={
        ".github/workflows/ci.yml": (
            "jobs > plan > permissions > pull-requests",
            _STEPS.format("plan", "Say that an earlier comparison is outdated"),
            "jobs > eval > permissions > pull-requests",
            _STEPS.format("eval", "Show the report"),
            _STEPS.format("eval", "Comment"),
        ),
    },
    lines={
        "engine/docs/decisions/README.md": ("what it shows, and how its report opens",),
        "engine/docs/reference/workflows.md": ("The pull request has one comment",),
    },
)
