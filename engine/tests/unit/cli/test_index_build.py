import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from sluice.core.workspace import Workspace
from sluice.data.rows import Document
from sluice.retrieval.stores import StoreSpec, open_store
from support.guardrails import place_guard_model
from unit.release.conftest import release_of, write_evaluation
from unit.retrieval.conftest import Scattered

pytestmark = pytest.mark.real
EARLIER = "r-000000000000"
Run = Callable[..., tuple[int, str]]


@pytest.fixture
def release(workspace: Workspace, documents: list[Document], monkeypatch: pytest.MonkeyPatch) -> str:
    from sluice.llm.model_files import ModelSpec
    from sluice.retrieval.index_files import ChunkerSettings, build_index

    monkeypatch.chdir(workspace.root)
    spec = ModelSpec(name="fake", source="file:fake", sha256="0" * 64, licence="CC0-1.0")
    build_index(documents, Scattered(), spec, ChunkerSettings(), workspace.build / "index")
    place_guard_model(workspace, spec.sha256)
    write_evaluation(workspace.build / "evaluation")
    return release_of(workspace, adapter=None)[0].id


@pytest.fixture
def running(workspace: Workspace) -> Iterator[None]:
    """The embedded servers, which start once for several commands."""
    with ExitStack() as opened:
        for path in ("pg", "pg2"):
            opened.enter_context(open_store(StoreSpec(kind="embedded", path=path), workspace.state))
        yield


@pytest.fixture
def run(sluice: Callable[..., tuple[int, str, str]]) -> Run:
    def call(*words: str) -> tuple[int, str]:
        status, out, err = sluice(*words)
        return status, out + err

    return call


def test_load(workspace: Workspace, release: str, run: Run) -> None:
    status, said = run("index", "load", release)
    assert (status, re.sub("_[0-9a-f]{16},", "_…,", said)) == (0, f"{release}: chunks_v3_…, 4 chunks\n")
    assert run("index", "load", str(workspace.releases / release)) == (0, said)


def test_a_job_loads_what_it_has_fetched(workspace: Workspace, release: str, run: Run, tmp_path: Path) -> None:
    whole, fetched = workspace.releases / release, tmp_path / "release"
    shutil.copytree(whole / "index", fetched / "index")
    shutil.copy(whole / "release.json", fetched)
    status, said = run("index", "load", str(fetched))
    assert (status, said.startswith(f"{release}: chunks_v3_")) == (0, True), said
    (fetched / "index" / "vectors.npy").unlink()
    status, said = run("index", "load", str(fetched))
    assert (status, "vectors.npy: missing" in said) == (1, True), said


def test_a_dead_store_is_named(workspace: Workspace, release: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    stores = "default: x\nstores:\n  x:\n    kind: postgres\n    url_env: NOBODY_STORE\n    timeout_seconds: 1\n"
    (workspace.config / "stores.yaml").write_text(stores)
    monkeypatch.setenv("NOBODY_STORE", "postgresql://nobody@127.0.0.1:9/x")
    status, said = run("index", "load", release, "--wait", "1")
    assert (status, "store 'x' cannot be reached" in said) == (1, True), said
