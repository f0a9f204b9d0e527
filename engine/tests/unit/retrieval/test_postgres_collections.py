from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sluice.retrieval.index_files import read_index
from sluice.retrieval.postgres_collections import ensure_collection

pytestmark = pytest.mark.real

LOADER = """
import sys
from pathlib import Path
import psycopg
from sluice.retrieval.postgres_collections import ensure_collection
with psycopg.connect(sys.argv[1], autocommit=True) as connection:
    print("ready", flush=True)
    sys.stdin.readline()
    for _ in range(3):
        print(ensure_collection(connection, Path(sys.argv[2])).collection, flush=True)
"""


@pytest.fixture
def connection(address: str):
    import psycopg

    with psycopg.connect(address, autocommit=True) as connection:
        yield connection


def count(connection, table: str) -> int:
    from psycopg import sql

    return connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))).fetchone()[0]


def test_what_is_stored_is_what_is_in_the_files(build, connection, tmp_path: Path) -> None:
    from pgvector.psycopg import register_vector
    from psycopg import sql

    info = ensure_collection(connection, tmp_path / "index") if build() else None
    register_vector(connection)
    _, chunks, vectors = read_index(tmp_path / "index")
    statement = sql.SQL("SELECT id, doc_id, title, text, embedding FROM {} ORDER BY id").format(
        sql.Identifier(info.collection)
    )
    for row, chunk, vector in zip(connection.execute(statement).fetchall(), chunks, vectors, strict=True):
        assert row[:4] == (chunk.id, chunk.doc_id, chunk.title, chunk.text)
        np.testing.assert_allclose(np.asarray(row[4], dtype=np.float32), vector, atol=1e-6)


def test_two_processes_at_once_load_it_once(build, connection, documents, address: str, tmp_path: Path) -> None:
    info = build([*documents, documents[0].model_copy(update={"id": "race", "text": "Only in this test."})])
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[4] / "engine" / "src")}
    argv = [sys.executable, "-c", LOADER, address, str(tmp_path / "index")]
    loaders = [
        subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
        )
        for _ in range(2)
    ]
    for loader in loaders:
        assert loader.stdout.readline() == "ready\n"
    for loader in loaders:
        loader.stdin.write("go\n")
        loader.stdin.flush()
    for loader in loaders:
        out, errors = loader.communicate(timeout=240)
        assert (loader.returncode, errors) == (0, "")
        assert out.split() == [info.collection] * 3
    assert count(connection, info.collection) == info.chunks
