from __future__ import annotations

from pathlib import Path

import pytest

from sluice.core.atomic_files import read_jsonl
from sluice.retrieval.index_files import ChunkerSettings, build_index, identity_of
from sluice.retrieval.index_stage import RememberingEmbedder

from .conftest import Scattered, corpus


@pytest.fixture
def remembering(spec, tmp_path: Path) -> tuple[Scattered, RememberingEmbedder]:
    inner = Scattered()
    return inner, RememberingEmbedder(inner, tmp_path / "vectors", identity_of(spec))


def test_only_what_is_new_is_embedded_and_what_is_gone_is_gone(remembering, spec, tmp_path: Path) -> None:
    inner, embedder = remembering
    build_index(corpus(50), embedder, spec, ChunkerSettings(), tmp_path / "index")
    assert inner.asked == embedder.fresh == 50
    changed = corpus(49, d0003="Something else.")
    info = build_index(changed, embedder, spec, ChunkerSettings(), tmp_path / "index")
    assert inner.asked == 51
    again = RememberingEmbedder(inner, tmp_path / "vectors", identity_of(spec))  # of another process
    build_index(changed, again, spec, ChunkerSettings(), tmp_path / "index")
    assert (inner.asked, again.fresh) == (51, 0)
    plain = build_index(changed, Scattered(), spec, ChunkerSettings(), tmp_path / "plain")
    assert info == plain
    assert len(read_jsonl(tmp_path / "index" / "chunks.jsonl")) == 49


def test_it_holds_the_last_build_and_as_many_before(remembering) -> None:
    inner, embedder = remembering
    embedder.embed(["a", "b", "c"])
    embedder.embed(["d", "e"])  # beside these, b and c
    assert inner.asked == 5
    embedder.embed(["b", "c"])
    assert inner.asked == 5
    embedder.embed(["a"])
    assert inner.asked == 6


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off"])
def test_a_file_that_cannot_be_read_is_made_anew(remembering, tmp_path: Path, content: bytes) -> None:
    inner, embedder = remembering
    embedder.embed(["a"])
    (path,) = (tmp_path / "vectors").iterdir()
    path.write_bytes(content)
    embedder.embed(["a"])
    embedder.embed(["a"])
    assert inner.asked == 2
