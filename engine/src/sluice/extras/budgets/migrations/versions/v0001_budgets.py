"""The table of what was used of each budget, by day."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "sluice_budgets",
        sa.Column("day", sa.Date, primary_key=True),
        sa.Column("budget", sa.Text, primary_key=True),
        sa.Column("requests", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("tokens", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("dollars", sa.Double, nullable=False, server_default="0"),
        # Each request writes its rows twice: with room on their pages no index is touched.
        postgresql_with={"fillfactor": 50},
    )


def downgrade() -> None:
    op.drop_table("sluice_budgets")
