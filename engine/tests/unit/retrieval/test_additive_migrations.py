"""Every migration of the repository only adds; what would change or take away is refused."""

from __future__ import annotations

from pathlib import Path

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
