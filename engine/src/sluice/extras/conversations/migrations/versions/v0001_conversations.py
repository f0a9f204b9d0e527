"""Conversations and their owners, the answers of a person, erasures that were asked for; and LangGraph's own tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from langgraph.checkpoint.postgres.base import MIGRATIONS

revision = "0001"
down_revision = None
OWNER = ("tenant", "key", "person")
CHECKPOINTER = 10  # steps of langgraph-checkpoint-postgres; those of a later version are a step of their own here


def upgrade() -> None:
    own_tables()
    for number, step in enumerate(MIGRATIONS[:CHECKPOINTER]):
        op.execute(step.replace("CONCURRENTLY", ""))  # the tables are empty, and all steps are one transaction
        op.execute(f"INSERT INTO checkpoint_migrations (v) VALUES ({number}) ON CONFLICT DO NOTHING")


def own_tables() -> None:
    owner = [sa.Column(name, sa.Text, nullable=False) for name in OWNER]
    op.create_table(
        "sluice_conversations",
        sa.Column("id", sa.Text, primary_key=True),
        *owner,
        sa.Column("created", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("used", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("busy_until", sa.DateTime(timezone=True)),
    )
    op.create_index("sluice_conversations_owner", "sluice_conversations", OWNER)
    op.create_index("sluice_conversations_used", "sluice_conversations", ["used"])
    op.create_table(
        "sluice_answers",
        sa.Column("trace", sa.Text, primary_key=True),
        *(sa.Column(name, sa.Text, nullable=False) for name in OWNER),
        sa.Column("made", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    )
    op.create_index("sluice_answers_owner", "sluice_answers", OWNER)
    op.create_table("sluice_erasures", *(sa.Column(name, sa.Text, primary_key=True) for name in OWNER))


def downgrade() -> None:
    for table in ("erasures", "answers", "conversations"):
        op.drop_table(f"sluice_{table}")
    for table in ("writes", "blobs", "migrations"):
        op.drop_table(f"checkpoint_{table}")
    op.drop_table("checkpoints")
