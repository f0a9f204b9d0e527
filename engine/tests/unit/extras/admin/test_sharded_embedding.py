"""Documents embedded in shares make the same index as when one machine embeds all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sluice.core.errors import SluiceError
from sluice.core.params import load_params
from sluice.core.workspace import Workspace
from sluice.data.rows import load_corpus
from sluice.extras.admin.sharded_embedding import DONE, CorpusShard, ImportedVectors, embed_share, take_vectors
from sluice.llm.model_files import load_models
from sluice.retrieval.chunking import ChunkerSettings, chunk
from sluice.retrieval.index_files import build_index, identity_of, texts_of
from sluice.retrieval.index_stage import VECTORS, IndexParameters
from sluice.retrieval.vector_cache import RememberingEmbedder
from unit.retrieval.conftest import Scattered, corpus

SETTINGS = ChunkerSettings()
FILES = ("chunks.jsonl", "vectors.npy", "index.json")


def embed_all(folder: Path, documents: Any, spec: Any, embedder: Any, *, of: int = 4, leave: int = 0) -> list[int]:
    found = []
    for number in range(1, of + 1):
        shard = CorpusShard(number, of)
        if number != leave:
            found.append(embed_share(documents, shard, SETTINGS, embedder, identity_of(spec), folder, part=4))
    return found


def test_shares_make_the_same_index(spec: Any, tmp_path: Path) -> None:
    """Bit for bit, where a text's vector does not depend on what is embedded with it."""
    documents = corpus(60)
    assert sum(counts := embed_all(tmp_path / "shards", documents, spec, Scattered())) == 60
    assert min(counts) > 5
    build_index(documents, Scattered(), spec, SETTINGS, tmp_path / "whole")
    given = ImportedVectors([tmp_path / "shards"], identity_of(spec))
    build_index(documents, given, spec, SETTINGS, tmp_path / "joined")
    for name in FILES:
        assert (tmp_path / "joined" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


@pytest.mark.real
def test_the_real_embedder_gives_nearly_the_same_vectors_in_shares(embedder: Any, spec: Any, tmp_path: Path) -> None:
    """What is embedded together is padded to the longest, and its numbers of 8 bits are rounded otherwise."""
    long = {f"d{number:04}": f"Word {number}. " * (1 + 7 * number) for number in range(12)}
    documents = corpus(12, **long)
    embed_all(tmp_path / "shards", documents, spec, embedder, of=3)
    whole = build_index(documents, embedder, spec, SETTINGS, tmp_path / "whole")
    given = ImportedVectors([tmp_path / "shards"], identity_of(spec))
    assert build_index(documents, given, spec, SETTINGS, tmp_path / "joined").collection == whole.collection
    first, second = (np.load(tmp_path / name / "vectors.npy") for name in ("whole", "joined"))
    assert (first * second).sum(axis=1).min() > 0.99


class Stops(Scattered):
    """Fails at the third call."""

    def embed(self, texts: Any) -> Any:
        if self.asked == 8:
            raise KeyboardInterrupt
        return super().embed(texts)


def test_a_shard_that_was_cut_off_goes_on_after_its_last_part(spec: Any, tmp_path: Path) -> None:
    documents, shard = corpus(20), CorpusShard(1, 1)
    with pytest.raises(KeyboardInterrupt):
        embed_share(documents, shard, SETTINGS, Stops(), identity_of(spec), tmp_path, part=4)
    assert not (tmp_path / shard.folder / DONE).exists()
    counting, told = Scattered(), list[tuple[int, int]]()
    embed_share(
        documents, shard, SETTINGS, counting, identity_of(spec), tmp_path, part=4, report=lambda *at: told.append(at)
    )
    assert counting.asked == 12
    assert told == [(0, 20), (4, 20), (8, 20), (12, 20), (16, 20)]
    assert (tmp_path / shard.folder / DONE).is_file()


def test_a_shard_that_is_done_is_not_embedded_again(spec: Any, tmp_path: Path) -> None:
    counting = Scattered()
    for _ in range(2):
        embed_all(tmp_path, corpus(20), spec, counting)
    assert counting.asked == 20


def test_a_share_is_missing(spec: Any, tmp_path: Path) -> None:
    documents = corpus(60)
    embed_all(tmp_path / "shards", documents, spec, Scattered(), leave=3)
    lost = sum(CorpusShard(3, 4).takes(document) for document in documents)
    given = ImportedVectors([tmp_path / "shards"], identity_of(spec))
    with pytest.raises(SluiceError, match=f"{lost} of 60 chunks have no vector there"):
        build_index(documents, given, spec, SETTINGS, tmp_path / "joined")
    assert not (tmp_path / "joined").exists()


def test_what_cannot_be_taken_is_named(spec: Any, tmp_path: Path) -> None:
    embed_all(tmp_path / "shards", corpus(4), spec, Scattered(), of=1)
    other = spec.model_copy(update={"sha256": "1" * 64})
    with pytest.raises(SluiceError, match="no vectors of this embedder"):
        ImportedVectors([tmp_path / "shards"], identity_of(other))
    file = next((tmp_path / "shards").rglob("*.npz"))
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(SluiceError, match=f"{file.name}: cannot be read"):
        ImportedVectors([tmp_path / "shards"], identity_of(spec))


@pytest.mark.parametrize("written", ["3", "0/4", "5/4", "a/b", "1/4/2", ""])
def test_what_is_no_shard(written: str) -> None:
    with pytest.raises(SluiceError, match="is not K/N"):
        CorpusShard.parse(written)
    assert CorpusShard.parse("3/4") == CorpusShard(3, 4)


def test_what_was_taken_is_known_to_builds(workspace: Workspace, tmp_path: Path) -> None:
    settings = load_params(workspace.params, "index", IndexParameters).chunker
    identity = identity_of(load_models(workspace.config / "models.yaml").embed)
    documents = load_corpus(workspace.data / "corpus")
    texts = texts_of(chunk(documents, settings))
    for number in (1, 2):
        embed_share(documents, CorpusShard(number, 2), settings, Scattered(), identity, tmp_path / "shards")
    assert [take_vectors(workspace, [tmp_path / "shards"]) for _ in range(2)] == [len(texts), 0]
    known = RememberingEmbedder(Scattered(), workspace.state / VECTORS, identity)
    np.testing.assert_array_equal(known.embed(texts), Scattered().embed(texts))
    assert (len(texts), known.fresh) == (4, 0)
