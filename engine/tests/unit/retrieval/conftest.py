import hashlib
import itertools
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from psycopg import sql

from sluice.data.rows import Document
from sluice.llm.model_files import ModelSpec
from sluice.retrieval.embedder import Embedder
from sluice.retrieval.index_files import ChunkerSettings, IndexInfo, build_index
from sluice.retrieval.postgres_collections import load_release
from sluice.retrieval.stores import Stores, StoreSpec, open_store

_NUMBERS = itertools.count()


class Scattered:
    """A direction for each text, always the same; a text that says `like <word>` lies beside that word."""

    def __init__(self) -> None:
        self.asked = 0

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        self.asked += len(texts)
        rows = []
        for text in texts:
            row = self._direction(text)
            if " like " in f" {text}":
                row = self._direction(text.rpartition("like ")[2]) + 0.1 * row
            rows.append(row / np.linalg.norm(row))
        return np.asarray(rows, dtype=np.float32)

    def _direction(self, text: str) -> np.ndarray:
        seed = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
        return np.random.default_rng(seed).normal(size=16)


def corpus(size: int, **changed: str) -> list[Document]:
    names = [f"d{number:04}" for number in range(size)]
    return [
        Document(id=name, title="T", licence="CC0-1.0", source="tests", text=changed.get(name, f"The word w{name}x."))
        for name in names
    ]


SPEC = ModelSpec(name="fake", source="file:fake", sha256="0" * 64, licence="CC0-1.0")


@pytest.fixture
def spec() -> ModelSpec:
    return SPEC


@pytest.fixture
def build(tmp_path: Path, documents: list[Document], spec: ModelSpec) -> Callable[..., IndexInfo]:
    def build(changed: list[Document] | None = None, *, out: Path | None = None, max_words: int = 120) -> IndexInfo:
        settings = ChunkerSettings(max_words=max_words)
        chosen = documents if changed is None else changed
        return build_index(chosen, Scattered(), spec, settings, out or tmp_path / "index")

    return build


@pytest.fixture(scope="session")
def embedder(models) -> Iterator[Embedder]:
    with Embedder(models.embed) as embedder:
        yield embedder


@pytest.fixture(scope="session")
def state() -> Iterator[Path]:
    """A state folder with a short path: a socket's path is limited to about 100 characters."""
    folder = Path(tempfile.mkdtemp(prefix="sl"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def address(state: Path) -> Iterator[str]:
    with open_store(StoreSpec(kind="embedded"), state) as address:
        yield address


@pytest.fixture
def database(address: str) -> Iterator[str]:
    with empty_database(address) as made:
        yield made


@contextmanager
def empty_database(address: str) -> Iterator[str]:
    name = sql.Identifier(f"empty_{next(_NUMBERS)}")
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(name))
        yield psycopg.conninfo.make_conninfo(address, dbname=name.as_string().strip('"'))
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


@pytest.fixture
def stores(database: str, monkeypatch: pytest.MonkeyPatch) -> Stores:
    """The database as the default store."""
    monkeypatch.setenv("RETRIEVAL_TEST_STORE", database)
    spec = {"kind": "postgres", "url_env": "RETRIEVAL_TEST_STORE"}
    return Stores.model_validate({"default": "x", "stores": {"x": spec}})


OLD, NEW, STOPPED = "r-111111111111", "r-222222222222", "r-333333333333"


@pytest.fixture
def store(database: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection


@pytest.fixture
def loaded(
    store: psycopg.Connection[Any], build: Callable[..., IndexInfo], documents: list[Document], tmp_path: Path
) -> dict[str, str]:
    for number, release in enumerate((OLD, NEW, STOPPED)):
        build(documents[number:], out=tmp_path / release)
    return {release: load_release(store, tmp_path / release, release).collection for release in (OLD, NEW, STOPPED)}
