import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest

from sluice.core.processes import wait_until
from sluice.extras.admin.verify_collection import verify
from sluice.llm.model_files import ModelSpec
from sluice.retrieval import RetrievalError
from sluice.retrieval.index_files import ChunkerSettings, build_index
from sluice.retrieval.postgres_collections import ensure_collection, list_collections
from sluice.retrieval.retriever import Retriever, open_retriever
from sluice.retrieval.stores import Stores
from support.retrieval.patience import open_patiently
from unit.retrieval.conftest import Scattered, corpus

pytestmark = pytest.mark.real
KILLS = 5
BUILDER = """
import sys
from pathlib import Path
import pgvector.psycopg, psycopg
from sluice.llm.model_files import ModelSpec
from sluice.retrieval.index_files import ChunkerSettings, build_index
from sluice.retrieval.postgres_collections import ensure_collection
from unit.retrieval.conftest import Scattered, corpus
address, out, changed = sys.argv[1:]
spec = ModelSpec(name="fake", source="file:fake", sha256="0" * 64, licence="CC0-1.0")
print("ready", flush=True)
documents = corpus(2200, **{f"d{n:04}": f"Changed {changed} {n}." for n in range(500)})
build_index(documents, Scattered(), spec, ChunkerSettings(), Path(out))
with psycopg.connect(address, autocommit=True) as connection:
    ensure_collection(connection, Path(out))
"""


def build(address: str, out: Path, changed: str, *, kill_after: float | None = None) -> tuple[int, float]:
    """Build in a process of its own; return its status, and its seconds after its imports."""
    root = Path(__file__).resolve().parents[4]
    argv = [sys.executable, "-c", BUILDER, address, str(out), changed]
    environment = {**os.environ, "PYTHONPATH": f"{root / 'src'}:{root / 'tests'}"}
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=environment) as builder:
        assert builder.stdout
        assert builder.stdout.readline().strip() == "ready"
        began = time.monotonic()
        if kill_after is not None:
            time.sleep(kill_after)
            builder.kill()
        return builder.wait(), time.monotonic() - began


def test_a_builder_that_is_killed_harms_nothing_and_the_next_one_completes(
    database: str, spec: Any, tmp_path: Path
) -> None:
    build_index(corpus(2200), Scattered(), spec, ChunkerSettings(), tmp_path / "live")
    with psycopg.connect(database, autocommit=True) as store:
        live = ensure_collection(store, tmp_path / "live")
        status, takes = build(database, tmp_path / "done", "first")
        assert status == 0
        there, left = set(list_collections(store)), 0
        for number in range(KILLS):
            # It may be done at the very end: a moment too.
            moment = takes * (number + 0.5) / KILLS
            status, _ = build(database, tmp_path / "killed", f"c{number}", kill_after=moment)
            left += status != 0
            for name in set(list_collections(store)) - there:
                assert verify(store, name, questions=1).faults == ()  # it was done before it was killed
                there.add(name)
            assert store.execute(f"SELECT count(*) FROM {live.collection}").fetchone() == (2200,)
        assert left, "some are killed before they are done"
        assert verify(store, live.collection, questions=5).faults == ()
        assert build(database, tmp_path / "killed", "c1")[0] == 0
        assert sorted(path.name for path in (tmp_path / "killed").iterdir()) == [
            "chunks.jsonl",
            "index.json",
            "vectors.npy",
        ]


@pytest.fixture
def embedded() -> Iterator[tuple[Retriever, Path]]:
    """A retriever over an embedded PostgreSQL of its own, and the server's folder."""
    state = Path(tempfile.mkdtemp(prefix="sl"))
    spec = ModelSpec(name="fake", source="file:fake", sha256="0" * 64, licence="CC0-1.0")
    build_index(corpus(20), Scattered(), spec, ChunkerSettings(), state / "index")
    stores = Stores.model_validate({"default": "x", "stores": {"x": {"kind": "embedded", "timeout_seconds": 2}}})
    with ExitStack() as opened:
        yield (
            open_patiently(opened, lambda: open_retriever(state / "index", Scattered(), stores, state)),
            state / "pg",
        )
    assert not (state / "pg" / "postmaster.pid").exists()
    shutil.rmtree(state, ignore_errors=True)


def test_the_embedded_postgresql_is_killed_under_load_and_comes_back(embedded: tuple[Retriever, Path]) -> None:
    retriever, folder = embedded
    over = time.monotonic() + 150
    others: list[BaseException] = []
    slowest = 0.0
    ready = False

    def ask(_: int) -> int:
        nonlocal slowest
        failed = 0
        while not ready and time.monotonic() < over:
            began = time.monotonic()
            try:
                assert len(retriever.search("like T: The word wd0003x.", k=3)) == 3
            except RetrievalError:
                failed += 1
                time.sleep(0.02)
            except BaseException as error:
                others.append(error)
            slowest = max(slowest, time.monotonic() - began)
        return failed

    with ThreadPoolExecutor(4) as threads:
        asking = [threads.submit(ask, number) for number in range(4)]
        killed = int((folder / "postmaster.pid").read_text().split()[0])
        os.kill(killed, signal.SIGKILL)

        def answered() -> bool:
            try:
                return bool(retriever.search("like T: The word wd0003x.", k=1)) and postmaster(folder) != killed
            except RetrievalError:
                return False

        assert wait_until(answered, seconds=120)
        ready = True
        failures = sum(each.result() for each in asking)
    assert others == []
    assert failures > 0
    assert slowest < 60
    assert wait_until(answered, seconds=60)


def postmaster(folder: Path) -> int:
    try:
        return int((folder / "postmaster.pid").read_text().split()[0])
    except (OSError, IndexError):
        return 0
