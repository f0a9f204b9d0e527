"""Migrations on a real PostgreSQL: up, down, again, two at once, killed midway, beside readers, by another user."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from sluice.core.errors import SluiceError
from sluice.core.processes import wait_until
from sluice.retrieval.postgres_collections import list_collections
from sluice.retrieval.retriever import open_retriever
from sluice.retrieval.store_schema import MIGRATIONS, load_release, migrate, require_current
from sluice.retrieval.stores import Stores
from starter_files import ROOT

from .conftest import OLD, Scattered

pytestmark = pytest.mark.real
RUN = """
import sys
from pathlib import Path
import psycopg
from sluice.retrieval.store_schema import migrate
with psycopg.connect(sys.argv[1]) as connection:
    print(*migrate(connection, folder=Path(sys.argv[2])).steps, sep="\\n", flush=True)
"""


REVISION = """
from alembic import op
revision = "{revision}"
down_revision = {before!r}
def upgrade():
    {up}
def downgrade():
    pass
"""
# What a step may do: the live release uses the store meanwhile (engine/docs/decisions/alembic.md).
ADDS = r"CREATE EXTENSION IF NOT EXISTS|CREATE TABLE|CREATE INDEX|ALTER TABLE \w+ ADD COLUMN|COMMENT ON"


def write_revision(folder: Path, revision: str, before: str | None, up: str) -> None:
    path = folder / "versions" / f"v{revision}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(REVISION.format(revision=revision, before=before, up=up))


def test_the_migrations_of_this_repository_only_add() -> None:
    for revision in ScriptDirectory(str(MIGRATIONS)).walk_revisions():
        written = io.StringIO()
        options = {"as_sql": True, "output_buffer": written, "literal_binds": True}
        with Operations.context(MigrationContext.configure(dialect_name="postgresql", opts=options)):
            revision.module.upgrade()
        statements = [one.strip() for one in written.getvalue().split(";") if one.strip()]
        assert statements
        for statement in statements:
            assert re.match(ADDS, statement), statement
            assert not re.search(r"\b(CREATE UNIQUE|REFERENCES|INHERITS)\b", statement), statement
            assert not statement.startswith("ALTER") or "NOT NULL" not in statement or "DEFAULT" in statement, statement


def run(database: str, **options: Any) -> list[str]:
    with psycopg.connect(database) as connection:
        return list(migrate(connection, **options).steps)


def shape(database: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(database) as connection:
        columns = "SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns"
        found = connection.execute(f"{columns} WHERE table_schema = 'public' ORDER BY 1, 2").fetchall()
        return (
            found
            + connection.execute("SELECT tablename, indexdef FROM pg_indexes WHERE schemaname = 'public'").fetchall()
        )


def start(database: str, folder: Path = MIGRATIONS) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", RUN, database, str(folder)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_up_step_by_step_down_again_and_up(database: str) -> None:
    empty = shape(database)
    assert [line[:7] for line in run(database)] == ["0001 up", "0002 up"]
    full = shape(database)
    assert run(database) == []
    assert shape(database) == full
    assert [line[:9] for line in run(database, to="base")] == ["0002 down", "0001 down"]
    assert [row for row in shape(database) if row[0] != "sluice_schema"] == empty
    assert len(run(database)) == 2
    assert shape(database) == full


def test_a_revision_that_is_not_there(database: str) -> None:
    with pytest.raises(SluiceError, match="no revision '0009'") as caught:
        run(database, to="0009")
    assert "there are 0001, 0002, base" in str(caught.value)


def test_two_at_once_do_it_once(database: str) -> None:
    both = [start(database) for _ in range(2)]
    ended = [(process.communicate(timeout=240), process.returncode) for process in both]
    assert [status for _, status in ended] == [0, 0], ended
    assert sorted(len(out.split("\n")) for (out, _), _ in ended) == [2, 3]  # nothing, and two steps, each with an end
    assert run(database) == []


def test_killed_midway_it_leaves_the_old_schema(database: str, tmp_path: Path) -> None:
    write_revision(tmp_path, "1", None, 'op.execute("CREATE TABLE busy (b text)")')
    run(database, folder=tmp_path)
    write_revision(tmp_path, "2", "1", 'op.execute("CREATE TABLE made (b text)")')
    write_revision(tmp_path, "3", "2", 'op.execute("ALTER TABLE busy ADD COLUMN c text")')
    before = shape(database)
    with psycopg.connect(database) as reader:
        reader.execute("SELECT * FROM busy")  # its transaction stays open: step 3 waits, with step 2 done
        process = start(database, tmp_path)
        assert wait_until(lambda: waiting(database), seconds=60)
        process.kill()
        process.communicate()
    assert shape(database) == before
    assert [line[:4] for line in run(database, folder=tmp_path)] == ["2 up", "3 up"]


def waiting(database: str) -> bool:
    with psycopg.connect(database) as connection:
        held = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        return connection.execute(held).fetchone() != (0,)


def test_a_table_that_is_never_free_is_given_up_and_nothing_changes(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluice.retrieval.store_schema._ATTEMPTS", 2)
    write_revision(tmp_path, "1", None, 'op.execute("CREATE TABLE busy (b text)")')
    run(database, folder=tmp_path)
    write_revision(tmp_path, "2", "1", 'op.execute("ALTER TABLE busy ADD COLUMN c text")')
    before = shape(database)
    with psycopg.connect(database) as reader:
        reader.execute("SELECT * FROM busy")
        with pytest.raises(SluiceError, match="in use by others at each of 2 attempts; nothing was changed"):
            run(database, folder=tmp_path)
    assert shape(database) == before


def test_a_release_is_loaded_once_and_only_into_a_store_with_its_schema(
    database: str, store: psycopg.Connection[Any], loaded: dict[str, str], tmp_path: Path
) -> None:
    before = store.execute("SELECT id, collection FROM sluice_releases ORDER BY 1").fetchall()
    load_release(store, tmp_path / OLD, OLD)
    assert store.execute("SELECT id, collection FROM sluice_releases ORDER BY 1").fetchall() == before
    assert list_collections(store) == sorted(loaded.values())
    run(database, to="base")
    with pytest.raises(SluiceError, match="schema is not there yet, this code needs 0002") as caught:
        load_release(store, tmp_path / OLD, OLD)
    assert "sluice index migrate" in str(caught.value)


def test_code_older_than_the_schema_goes_on(database: str) -> None:
    run(database)
    with psycopg.connect(database) as connection:
        connection.execute("UPDATE sluice_schema SET version_num = '0999'")
    assert run(database) == []
    with psycopg.connect(database) as connection:
        require_current(connection)
    with pytest.raises(SluiceError, match="0999, which this code does not know"):
        run(database, to="0001")


class Reader(threading.Thread):
    """Searches at a steady rate, as a pod of the live release does."""

    def __init__(self, search: Callable[[], Any]) -> None:
        super().__init__()
        self._search, self._over = search, threading.Event()
        self.answered = 0

    def __enter__(self) -> Reader:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        while not self._over.wait(0.02):
            assert self._search()
            self.answered += 1

    def more(self, count: int = 20) -> None:
        goal = self.answered + count
        assert wait_until(lambda: self.answered >= goal or not self.is_alive(), seconds=60)
        assert self.is_alive(), "a search failed"


def test_a_running_release_answers_through_migration_and_load(
    database: str, build: Callable[..., Any], documents: list[Any], tmp_path: Path, stores: Stores
) -> None:
    info = build(out=tmp_path / "old")
    build(documents[1:], out=tmp_path / "new")
    with (
        open_retriever(tmp_path / "old", Scattered(), stores, tmp_path) as retriever,
        Reader(lambda: retriever.search("Who is paged?", k=1)) as reader,
    ):
        reader.more()
        run(database)
        reader.more()
        with psycopg.connect(database, autocommit=True) as connection:
            load_release(connection, tmp_path / "new", "r-111111111111")
        reader.more()
        shutil.copytree(MIGRATIONS, tmp_path / "schema", ignore=shutil.ignore_patterns("__pycache__"))
        column = f'op.execute("ALTER TABLE {info.collection} ADD COLUMN note text")'
        write_revision(tmp_path / "schema", "0003", "0002", column)
        assert [line[:7] for line in run(database, folder=tmp_path / "schema")] == ["0003 up"]
        reader.more()


PAGE = ROOT / "docs" / "aws.md"


@pytest.mark.skipif(not PAGE.exists(), reason="the project has no docs/aws.md")
def test_a_service_answers_as_the_user_of_the_page_that_is_no_owner(
    database: str, build: Callable[..., Any], tmp_path: Path, stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    (statements,) = re.findall(r"^```sql\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    name = "sluice_user_test"
    build()
    with psycopg.connect(database, autocommit=True) as owner:
        where = owner.execute("SELECT current_database()").fetchone()
        assert where
        made = re.sub(r"\bsluice\b", name, statements).replace(f"DATABASE {name}", f'DATABASE "{where[0]}"')
        for statement in filter(str.strip, made.split(";")):
            owner.execute(statement.encode())
        try:
            address = psycopg.conninfo.make_conninfo(database, user=name, password="…")
            with psycopg.connect(address) as user:
                granted = user.execute("SELECT rolsuper, rolcreaterole, rolcreatedb FROM pg_roles WHERE rolname = user")
                assert granted.fetchone() == (False, False, False)
                assert migrate(user).steps
                load_release(user, tmp_path / "index", "r-111111111111")
            monkeypatch.setenv("RETRIEVAL_TEST_STORE", address)
            with open_retriever(tmp_path / "index", Scattered(), stores, tmp_path) as retriever:
                assert retriever.search("leave", k=2)
            with psycopg.connect(address) as user, pytest.raises(psycopg.errors.InsufficientPrivilege):
                user.execute("CREATE ROLE another")
            with psycopg.connect(database, user="sluice_b", password="…") as second:
                assert second.execute("SELECT current_user").fetchone() == (name,), "what it makes is the first one's"
                assert second.execute("SELECT count(*) FROM sluice_releases").fetchone() == (1,)
        finally:
            owner.execute(f"DROP OWNED BY {name} CASCADE".encode())
            owner.execute(f"DROP ROLE sluice_b, {name}".encode())
