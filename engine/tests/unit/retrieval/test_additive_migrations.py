"""Every migration of the repository only adds; what would change or take away is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import op
from alembic.script import ScriptDirectory

from sluice.retrieval.store_schema import MIGRATIONS
from support.retrieval.additive_migrations import not_expanding, statements

REVISION = """
from alembic import op
revision = "{revision}"
down_revision = {before!r}
def upgrade():
    {up}
def downgrade():
    {down}
"""


def write_revision(folder: Path, revision: str, before: str | None, up: str, down: str = "pass") -> Path:
    """One step of a schema of its own."""
    path = folder / "versions" / f"v{revision}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(REVISION.format(revision=revision, before=before, up=up, down=down))
    return path


def test_the_migrations_of_this_repository_only_add() -> None:
    script = ScriptDirectory(str(MIGRATIONS))
    refused = {one.path: not_expanding(one.module.upgrade) for one in script.walk_revisions()}
    assert not any(refused.values()), refused
    told = [line for one in script.walk_revisions() for line in statements(one.module.upgrade)]
    assert "CREATE EXTENSION IF NOT EXISTS vector" in told
    assert any(line.startswith("CREATE TABLE sluice_releases (") for line in told)


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE a ADD COLUMN b text",
        "ALTER TABLE a ADD COLUMN IF NOT EXISTS b varchar(20) NULL",
        "ALTER TABLE a ADD COLUMN b integer DEFAULT 0 NOT NULL",
        "ALTER TABLE public.a ADD COLUMN b timestamptz DEFAULT now() NOT NULL",
        'CREATE TABLE "a" (b text, c numeric(4, 2))',
        "CREATE INDEX i ON a (b)",
        "COMMENT ON TABLE a IS 'for people'",
    ],
)
def test_what_adds_is_let_through(statement: str) -> None:
    assert not_expanding(lambda: op.execute(statement)) == []


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE a",
        "ALTER TABLE a DROP COLUMN b",
        "ALTER TABLE a RENAME COLUMN b TO c",
        "ALTER TABLE a RENAME TO b",
        "ALTER TABLE a ALTER COLUMN b TYPE text",
        "ALTER TABLE a ALTER COLUMN b SET NOT NULL",
        "ALTER TABLE a ADD COLUMN b text NOT NULL",
        "ALTER TABLE a ADD COLUMN b text DEFAULT random()::text",
        "ALTER TABLE a ADD COLUMN b text, DROP COLUMN c",
        "ALTER TABLE a ADD COLUMN b text UNIQUE",
        "ALTER TABLE a ADD COLUMN b integer REFERENCES c",
        "ALTER TABLE a ADD CONSTRAINT x CHECK (b > 0)",
        "CREATE UNIQUE INDEX i ON a (b)",
        "CREATE TABLE a (b integer REFERENCES c)",
        "CREATE TABLE a (b) AS SELECT f(1)",
        "CREATE TABLE a (b integer); DROP TABLE c",
        "TRUNCATE a",
        "DELETE FROM a",
        "UPDATE a SET b = 1",
        "SELECT drop_everything()",
        "LOCK TABLE a",
        "CREATE OR REPLACE FUNCTION f() RETURNS int AS 'SELECT 1' LANGUAGE sql",
    ],
)
def test_what_changes_or_takes_away_is_refused(statement: str) -> None:
    assert not_expanding(lambda: op.execute(statement)) == [statement]


def test_operations_of_alembic_are_read_as_the_sql_they_make() -> None:
    def upgrade() -> None:
        op.add_column("a", sa.Column("b", sa.Text))
        op.add_column("a", sa.Column("c", sa.Text, nullable=False))
        op.drop_column("a", "d")

    assert not_expanding(upgrade) == ["ALTER TABLE a ADD COLUMN c TEXT NOT NULL", "ALTER TABLE a DROP COLUMN d"]


def test_a_migration_that_has_to_ask_first_is_refused() -> None:
    def upgrade() -> None:
        op.get_bind().execute(sa.text("SELECT 1")).scalar_one()

    assert not_expanding(upgrade)[0].startswith("cannot be read without a database: ")
