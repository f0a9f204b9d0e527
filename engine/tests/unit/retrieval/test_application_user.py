"""The statements of docs/aws.md make a user of the database that is all the service needs, and no owner: a real one."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from sluice.retrieval.retriever import open_retriever
from sluice.retrieval.store_schema import load_release, migrate
from sluice.retrieval.stores import Stores
from starter_files import ROOT

from .conftest import Scattered

pytestmark = pytest.mark.real
PAGE = ROOT / "docs" / "aws.md"
STORES = Stores.model_validate({"default": "x", "stores": {"x": {"kind": "postgres", "url_env": "USER_TEST_STORE"}}})


@pytest.mark.skipif(not PAGE.exists(), reason="the project has no docs/aws.md")
def test_a_service_answers_as_a_user_of_its_own(
    database: str, build: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (statements,) = re.findall(r"^```sql\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    name = "sluice_user_test"
    with psycopg.connect(database, autocommit=True) as owner:
        where = owner.execute("SELECT current_database()").fetchone()
        assert where
        made = re.sub(r"\bsluice\b", name, statements).replace(f"DATABASE {name}", f'DATABASE "{where[0]}"')
        for statement in filter(str.strip, made.split(";")):
            owner.execute(statement.encode())
        try:
            address = psycopg.conninfo.make_conninfo(database, user=name, password="…")
            answers_as(address, build, tmp_path, monkeypatch)
            with psycopg.connect(database, user="sluice_b", password="…") as second:
                assert second.execute("SELECT current_user").fetchone() == (name,), "what it makes is the first one's"
                assert second.execute("SELECT count(*) FROM sluice_releases").fetchone() == (1,)
        finally:
            owner.execute(f"DROP OWNED BY {name} CASCADE".encode())
            owner.execute(f"DROP ROLE sluice_b, {name}".encode())


def answers_as(address: str, build: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = tmp_path / "index"
    build(out=index)
    with psycopg.connect(address) as connection:
        granted = connection.execute("SELECT rolsuper, rolcreaterole, rolcreatedb FROM pg_roles WHERE rolname = user")
        assert granted.fetchone() == (False, False, False)
        assert migrate(connection).steps
        load_release(connection, index, "r-111111111111")
    monkeypatch.setenv("USER_TEST_STORE", address)
    with open_retriever(index, Scattered(), STORES, tmp_path) as retriever:
        assert retriever.search("leave", k=2)
    with psycopg.connect(address) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("CREATE ROLE another")
