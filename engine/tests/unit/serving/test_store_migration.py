"""A service with a store that others share: it answers while the schema is brought up and another index is loaded."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest

from sluice.core.processes import wait_until
from sluice.data.rows import Document
from sluice.llm.model_files import ModelSpec
from sluice.retrieval.index_files import ChunkerSettings, build_index
from sluice.retrieval.postgres_collections import drop
from sluice.retrieval.store_schema import load_release, migrate
from support.network.tcp_proxy import Proxy
from unit.serving.test_postgresql_failures import (
    SameVector,
    Service,
    index,
    limit,
    proxy,
    retriever,
    server,
    service,
    stores,
)

pytestmark = pytest.mark.real
__all__ = ["index", "limit", "proxy", "retriever", "server", "service", "stores"]


class Callers:
    """Four callers, each with a question every 50 ms; status of every reply."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._over = threading.Event()
        self._pool = ThreadPoolExecutor(4)
        self.statuses: list[int] = []

    def __enter__(self) -> Callers:
        for _ in range(4):
            self._pool.submit(self._run)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._pool.shutdown()

    def _run(self) -> None:
        while not self._over.wait(0.05):
            self.statuses.append(self._service.ask().status_code)

    def more(self) -> None:
        """Waits for twenty further replies."""
        goal = len(self.statuses) + 20
        assert wait_until(lambda: len(self.statuses) >= goal, seconds=120)


def test_a_service_answers_through_a_migration_and_a_load(
    service: Service, proxy: Proxy, documents: list[Document], tmp_path: Path
) -> None:
    spec = ModelSpec(name="fake", source="file:fake", sha256="0" * 64, licence="CC0-1.0")
    embedder: Any = SameVector()
    build_index(documents[1:], embedder, spec, ChunkerSettings(max_words=60), tmp_path / "next")
    address = f"postgresql://postgres@127.0.0.1:{proxy.port}/postgres?sslmode=disable"
    with Callers(service) as callers:
        callers.more()
        with psycopg.connect(address) as connection:
            assert len(migrate(connection).steps) == 2
        callers.more()
        with psycopg.connect(address, autocommit=True) as connection:
            canary = load_release(connection, tmp_path / "next", "r-111111111111")
            callers.more()
            # The canary was aborted: what it was loaded with goes, what the service searches stays.
            live = load_release(connection, tmp_path / "index", "r-000000000000")
            with connection.transaction():
                assert drop(connection, canary.collection)
                assert not drop(connection, live.collection)
        callers.more()
    assert set(callers.statuses) == {200}
    assert len(callers.statuses) >= 80
