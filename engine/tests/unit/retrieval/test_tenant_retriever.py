import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from sluice.core.errors import SluiceError
from sluice.retrieval.index_files import ChunkerSettings, build_index
from sluice.retrieval.postgres_collections import ensure_collection, list_collections
from sluice.retrieval.postgres_connections import RetrievalError
from sluice.retrieval.retriever import PostgresRetriever, TenantRetriever, open_for_tenants
from sluice.retrieval.stores import Stores

from .conftest import SPEC, Scattered, corpus, empty_database

pytestmark = pytest.mark.real

STORES = ("shared", "acme", "group")
TENANTS = {"acme": "acme", "north": "group", "south": "group"}
EVERYBODY = {"d0004", "d0005"}


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tenants") / "index"
    owners = ("acme", "north", "south", "other", None, None)
    documents = [one.model_copy(update={"tenant": owner}) for one, owner in zip(corpus(6), owners, strict=True)]
    build_index(documents, Scattered(), SPEC, ChunkerSettings(), folder)
    return folder


@pytest.fixture(scope="module")
def stores(address: str, index: Path) -> Iterator[Stores]:
    """Databases with the same collection, whose titles are the name of the store."""
    specs = {}
    with ExitStack() as opened, pytest.MonkeyPatch.context() as environment:
        for store in STORES:
            variable = f"TENANTS_TEST_{store.upper()}"
            environment.setenv(variable, opened.enter_context(empty_database(address)))
            specs[store] = {"kind": "postgres", "url_env": variable, "timeout_seconds": 60}
        stores = Stores.model_validate({"default": "shared", "stores": specs, "tenants": TENANTS})
        for store in STORES:
            with connection_to(store) as connection:
                table = sql.Identifier(ensure_collection(connection, index).collection)
                connection.execute(sql.SQL("UPDATE {} SET title = %s").format(table), (store,))
        yield stores


def connection_to(store: str) -> psycopg.Connection[Any]:
    return psycopg.connect(os.environ[f"TENANTS_TEST_{store.upper()}"], autocommit=True)


def test_a_question_goes_to_the_store_of_its_tenant_alone(stores: Stores, index: Path) -> None:
    expected = {
        None: ("shared", set()),
        "acme": ("acme", {"d0000"}),
        "north": ("group", {"d0001"}),
        "south": ("group", {"d0002"}),
        "other": ("shared", {"d0003"}),
        "acme' OR 1=1 --": ("shared", set()),
    }
    with open_for_tenants(index, Scattered(), stores, index) as retriever:
        assert isinstance(retriever, TenantRetriever)
        for tenant, (store, own) in expected.items():
            hits = retriever.search("The word", k=10, tenant=tenant)
            assert {hit.title for hit in hits} == {store}, tenant
            assert {hit.doc_id for hit in hits} == EVERYBODY | own, tenant
        assert retriever.invoke("The word", k=1, tenant="acme")[0].metadata["title"] == "acme"


@contextmanager
def closed(store: str) -> Iterator[None]:
    with connection_to("shared" if store != "shared" else "acme") as beside, connection_to(store) as inside:
        name = inside.info.dbname
        alter = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
        beside.execute(alter.format(sql.Identifier(name), sql.Literal(False)))
        beside.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
        try:
            yield
        finally:
            beside.execute(alter.format(sql.Identifier(name), sql.Literal(True)))


def test_a_store_that_is_lost_takes_only_its_tenants_with_it(stores: Stores, index: Path) -> None:
    soon = stores.stores["acme"].model_copy(update={"timeout_seconds": 15})  # and yet enough before it is lost
    stores = stores.model_copy(update={"stores": {**stores.stores, "acme": soon}})
    with open_for_tenants(index, Scattered(), stores, index) as retriever:
        assert retriever.search("The word", k=1, tenant="acme")
        with closed("acme"):
            for _ in range(2):
                with pytest.raises(RetrievalError):
                    retriever.search("The word", k=1, tenant="acme")
            assert retriever.search("The word", k=1, tenant="north")[0].title == "group"
            assert retriever.search("The word", k=1)[0].title == "shared"


def test_without_stores_of_their_own_nothing_stands_before_the_search(stores: Stores, index: Path) -> None:
    alone = stores.model_copy(update={"tenants": {"acme": "shared"}})
    with open_for_tenants(index, Scattered(), alone, index) as retriever:
        assert type(retriever) is PostgresRetriever


def test_a_store_without_the_collection_of_the_release_is_refused(stores: Stores, tmp_path: Path) -> None:
    newer = build_index(corpus(7), Scattered(), SPEC, ChunkerSettings(), tmp_path / "index")
    without = stores.model_copy(update={"tenants": {"north": "group", "south": "group"}})
    opening = open_for_tenants(tmp_path / "index", Scattered(), without, tmp_path)
    with pytest.raises(SluiceError) as caught, opening:
        pass
    error = caught.value
    assert error.message.startswith("store 'group', of north, south alone: it does not have the collection")
    assert newer.collection in error.message
    assert "sluice index build --store group" in error.remedy
    assert "sluice index load RELEASE --store group" in error.remedy
    with connection_to("group") as connection:
        assert newer.collection not in list_collections(connection)  # nothing was loaded unasked
