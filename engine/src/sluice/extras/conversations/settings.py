"""config/conversations.yaml. It is not part of a release: an environment has its own."""

from __future__ import annotations

from pydantic import Field

from sluice.core.settings import Settings


class ConversationSettings(Settings):
    history_tokens: int = Field(1000, ge=1, description="of earlier messages that a question is asked with, about")
    retention_days: int = Field(30, ge=1, description="after its last turn a conversation is deleted")
    linked_days: int = Field(400, ge=1, description="how long an answer can be traced back to its person")
