import re
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psycopg
import pytest

from sluice.core.errors import SluiceError
from sluice.core.processes import wait_until
from sluice.data.rows import Document
from sluice.llm.model_files import ModelSpec
from sluice.retrieval.index_files import ChunkerSettings, build_index
from sluice.retrieval.retriever import Retriever, open_retriever
from sluice.retrieval.stores import Stores, StoreSpec, open_store
from sluice.serving.http_api import create_app
from sluice.serving.middleware import TrafficState
from sluice.serving.runner import ApplicationRunner
from support.network.tcp_proxy import Proxy
from support.retrieval.patience import open_patiently
from support.serving.fakes import NoChecks, ScriptedChat, scripted_bundle
from unit.serving.client import Client

pytestmark = pytest.mark.real


class SameVector:
    """Every text is the same unit vector, so that every passage is near."""

    def embed(self, texts: list[str]) -> np.ndarray:
        return np.tile(np.array([[1.0, 0.0, 0.0]], dtype=np.float32), (len(texts), 1))


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The Unix socket of a real PostgreSQL. Its folder is short: the path of a socket is limited."""
    state = Path(tempfile.mkdtemp(prefix="sl"))
    with open_store(StoreSpec(kind="embedded"), state) as address:
        folder = psycopg.conninfo.conninfo_to_dict(address)["host"]
        yield f"{folder}/.s.PGSQL.5432"
    shutil.rmtree(state, ignore_errors=True)


@pytest.fixture
def proxy(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    with Proxy(server) as running:
        monkeypatch.setenv("FAULTY_STORE", f"postgresql://postgres@127.0.0.1:{running.port}/postgres?sslmode=disable")
        yield running


@pytest.fixture
def index(tmp_path: Path, documents: list[Document]) -> Path:
    spec = ModelSpec(name="fake", source="file:fake", sha256="0" * 64, licence="CC0-1.0")
    build_index(documents, SameVector(), spec, ChunkerSettings(max_words=120), tmp_path / "index")  # type: ignore[arg-type]
    return tmp_path / "index"


@pytest.fixture
def stores() -> Stores:
    faulty = {"kind": "postgres", "url_env": "FAULTY_STORE", "timeout_seconds": 1.5}  # the tests wait for it
    return Stores.model_validate({"default": "x", "stores": {"x": faulty}})


@pytest.fixture
def retriever(proxy: Proxy, index: Path, stores: Stores, tmp_path: Path) -> Iterator[Retriever]:  # noqa: ARG001 - it is behind the proxy
    with ExitStack() as opened:
        embedder: Any = SameVector()
        yield open_patiently(opened, lambda: open_retriever(index, embedder, stores, tmp_path))


class Service(Client):
    """The app around that retriever."""

    def __init__(self, retriever: Retriever) -> None:
        bundle = scripted_bundle(limits={"max_body_bytes": 4096, "max_concurrent": 64})
        chain = ApplicationRunner(bundle, ScriptedChat(script={"overlap": "64 tokens"}), retriever, NoChecks())
        super().__init__(create_app(bundle, chain, TrafficState()))

    def failures(self) -> float:
        found = re.search(r'sluice_requests_total{.*status="503"} ([\d.]+)', self.send("GET", "/metrics").text)
        return float(found[1]) if found else 0.0


@pytest.fixture
def service(retriever: Retriever) -> Service:
    made = Service(retriever)
    assert wait_until(lambda: made.chat().status_code == 200, seconds=60)
    return made


def refused(reply: httpx.Response) -> bool:
    """503 in OpenAI's shape, with a time to come back."""
    return (
        reply.status_code == 503
        and reply.headers["retry-after"] == "1"
        and reply.json()["error"]
        == {
            "message": "the passages cannot be searched now; try again soon",
            "type": "server_error",
            "param": None,
            "code": "search_unavailable",
        }
    )


@pytest.mark.parametrize("mode", ["refuse", "reset", "hang", "garbage"])
def test_postgresql_in_trouble_is_a_503_in_time_and_mends_itself(service: Service, proxy: Proxy, mode: str) -> None:
    proxy.mode = mode
    for stream in (False, True):
        assert refused(service.chat(stream=stream))  # whatever does not end is ended: the proxy hangs for ever
    assert service.failures() >= 2
    proxy.mode = "pass"
    assert wait_until(lambda: service.chat().status_code == 200, seconds=60)


def test_postgresql_that_is_too_slow_is_a_503(service: Service, proxy: Proxy) -> None:
    proxy.mode, proxy.delay = "slow", 3600
    assert refused(service.chat())


def test_a_server_that_hangs_does_not_use_up_the_threads(service: Service, proxy: Proxy) -> None:
    proxy.mode = "hang"
    with ThreadPoolExecutor(12) as pool:
        replies = list(pool.map(lambda _: service.chat(), range(24)))
    assert all(refused(reply) for reply in replies)
    proxy.mode = "pass"
    assert wait_until(lambda: service.chat().status_code == 200, seconds=60)


@pytest.mark.parametrize("mode", ["refuse", "reset", "hang", "garbage"])
def test_trouble_at_the_start_is_told(proxy: Proxy, index: Path, stores: Stores, tmp_path: Path, mode: str) -> None:
    proxy.mode = mode
    with (
        pytest.raises(SluiceError, match=r"config/stores.yaml: store 'x' cannot be reached"),
        open_retriever(index, SameVector(), stores, tmp_path),  # type: ignore[arg-type]
    ):
        pass
