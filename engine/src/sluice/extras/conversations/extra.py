"""What the extra `conversations` adds, and what belongs to it."""

from __future__ import annotations

from sluice.core.extras import Extra

EXTRA = Extra(
    summary="conversations kept in PostgreSQL by LangGraph's checkpointer, and the erasure of a person",
    commands="cli:register",
    hooks={"migrations": "service:migrations", "service": "service:open_conversations"},
    files=("config/conversations.yaml", "engine/docs/reference/conversations.md"),
    lines={
        "docs/operate.md": ("`sluice conversations sweep`",),
        ".containerignore": ("!config/conversations.yaml",),
        "engine/Containerfile": ("COPY config/conversations.yaml",),
        "engine/docs/README.md": ("(reference/conversations.md)",),
        "engine/docs/reference/api.md": (
            "`POST /v1/conversations`",
            "`unknown_conversation`",
            "`conversation_busy`",
            "`conversation_unavailable`",
        ),
        "engine/requirements/serve.in": ("# conversations, of the extra",),
    },
)
