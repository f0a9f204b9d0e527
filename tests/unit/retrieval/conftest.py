from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from sluice.data.rows import Document
from sluice.llm.models import ModelSpec
from sluice.retrieval.chunking import ChunkerSettings
from sluice.retrieval.embedder import Embedder
from sluice.retrieval.index import IndexInfo, build_index
from sluice.retrieval.stores import StoreSpec, open_store


class FakeEmbedder:
    """Three numbers for each text, unit length, always the same."""

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        rows = np.array([[len(text), text.count("e") + 1, text.count(" ") + 1] for text in texts], dtype=np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture
def spec() -> ModelSpec:
    return ModelSpec(name="fake", source="file:fake", sha256="0" * 64, licence="CC0-1.0")


@pytest.fixture
def build(tmp_path: Path, documents: list[Document], spec: ModelSpec) -> Callable[..., IndexInfo]:
    """Builds an index of the three articles with the fake embedder in `out` (default: tmp_path/index)."""

    def build(changed: list[Document] | None = None, *, out: Path | None = None, max_words: int = 120) -> IndexInfo:
        settings = ChunkerSettings(max_words=max_words)
        chosen = documents if changed is None else changed
        return build_index(chosen, FakeEmbedder(), spec, settings, out or tmp_path / "index")  # type: ignore[arg-type]

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
    """The embedded PostgreSQL, one for all tests of this folder."""
    with open_store(StoreSpec(kind="embedded"), state) as address:
        yield address
