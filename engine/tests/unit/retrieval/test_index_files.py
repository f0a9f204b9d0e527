import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sluice.core.atomic_files import read_json, read_jsonl, write_json
from sluice.core.digests import digest_of
from sluice.core.errors import SluiceError
from sluice.data.rows import Document
from sluice.retrieval.index_files import (
    PAGES,
    Chunk,
    ChunkerSettings,
    build_index,
    chunk,
    identity_of,
    read_index,
    starts,
)
from sluice.retrieval.index_stage import RememberingEmbedder

from .conftest import Scattered, corpus


def cut(text: str, max_words: int = 120, name: Any = "paragraph") -> list[Chunk]:
    document = Document(id="d", title="T", licence="CC0-1.0", source="tests", text=text)
    return chunk([document], ChunkerSettings(name=name, max_words=max_words))


def sentence(size: int, end: str) -> str:
    return " ".join(f"w{number}" for number in range(size)) + end


TEXT = "One two. Three four five.\n\n\n Six seven. Eight\nnine ten eleven twelve. "


@pytest.mark.parametrize(
    ("name", "max_words", "expected"),
    [
        ("paragraph", 120, ["One two. Three four five.", "Six seven. Eight nine ten eleven twelve."]),
        ("sentences", 5, ["One two. Three four five.", "Six seven.", "Eight nine ten eleven twelve."]),
        ("sentences", 7, ["One two. Three four five. Six seven.", "Eight nine ten eleven twelve."]),
        ("words", 5, ["One two. Three four five.", "Six seven. Eight nine ten", "eleven twelve."]),
    ],
)
def test_where_a_text_is_cut(name: str, max_words: int, expected: list[str]) -> None:
    assert [each.text for each in cut(TEXT, max_words, name)] == expected


@pytest.mark.parametrize("name", ["paragraph", "sentences", "words"])
def test_every_strategy_cuts_without_gap_or_overlap_and_keeps_the_limit(name: Any) -> None:
    dice = random.Random(5)
    for _ in range(100):
        text = "\n\n".join(
            " ".join(sentence(dice.randint(1, 30), dice.choice(".?!")) for _ in range(dice.randint(1, 30)))
            for _ in range(dice.randint(1, 4))
        )
        limit = dice.randint(1, 150)
        chunks = cut(text, limit, name)
        whole = " ".join(text.split())
        assert " ".join(each.text for each in chunks) == whole
        assert all(0 < len(each.text.split()) <= limit for each in chunks)
        assert all(whole[at:].startswith(each.text) for at, each in zip(starts(chunks), chunks, strict=True))
    assert cut(" \n ", 7, name) == []


def test_round_trip(build, tmp_path: Path) -> None:
    info = build()
    again, chunks, vectors = read_index(tmp_path / "index")
    assert again == info
    assert (info.documents, info.chunks, info.dimension) == (3, 4, 16)
    assert [c.id for c in chunks] == ["canary#0", "canary#1", "chunking#0", "paging#0"]
    assert vectors.shape == (4, 16)
    assert vectors.dtype == np.float32
    assert info.collection == f"chunks_v3_{info.digest[:16]}"
    assert sorted(path.name for path in (tmp_path / "index").iterdir()) == ["chunks.jsonl", "index.json", "vectors.npy"]


def test_pages_on_the_web_are_listed_and_change_no_digest(build, documents, tmp_path: Path) -> None:
    plain = build()
    info = build([documents[0].model_copy(update={"source": "https://example.org/a"}), *documents[1:]])
    assert info.digest == plain.digest
    assert PAGES in info.files
    assert read_json(tmp_path / "index" / PAGES) == {documents[0].id: ["https://example.org/a", []]}


def test_what_makes_another_digest(build, documents, tmp_path: Path) -> None:
    assert build(out=tmp_path / "a") == build(out=tmp_path / "far" / "b")
    digests = {build().digest, build(max_words=119).digest}
    for change in ({"text": documents[0].text + " More."}, {"title": "Other"}, {"id": "other"}):
        digests.add(build([documents[0].model_copy(update=change), *documents[1:]]).digest)
    digests.add(build(documents[:2]).digest)
    assert len(digests) == 6


def test_a_tenant_makes_another_digest_and_none_leaves_it_as_it_was(build, documents, tmp_path: Path) -> None:
    plain = build()
    rows = read_jsonl(tmp_path / "index" / "chunks.jsonl")
    assert all(set(row) == {"id", "doc_id", "title", "text"} for row in rows)
    parts = {"embedder": plain.embedder.model_dump(), "chunker": plain.chunker.model_dump(), "chunks": rows}
    assert plain.digest == digest_of(parts)
    owned = build([documents[0].model_copy(update={"tenant": "acme"}), *documents[1:]])
    assert owned.digest != plain.digest
    assert [chunk.tenant for chunk in read_index(tmp_path / "index")[1]] == ["acme", "acme", None, None]


def test_it_replaces_an_older_index_whole(build, documents, tmp_path: Path) -> None:
    build()
    (tmp_path / "index" / "stale.txt").write_text("of an older version")
    build(documents[:1])
    assert len(read_index(tmp_path / "index")[1]) == 2
    assert not (tmp_path / "index" / "stale.txt").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


def test_nothing_to_index(build, documents, tmp_path: Path) -> None:
    for empty in ([], [documents[0].model_copy(update={"text": " \n"})]):
        with pytest.raises(SluiceError, match="no text to index"):
            build(empty)
    assert not (tmp_path / "index").exists()


@pytest.mark.parametrize(("name", "harm"), [("chunks.jsonl", "changed"), ("vectors.npy", "gone")])
def test_a_file_that_does_not_match_is_named(build, tmp_path: Path, name: str, harm: str) -> None:
    build()
    path = tmp_path / "index" / name
    if harm == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(SluiceError, match=f"{name}: does not match index.json") as caught:
        read_index(tmp_path / "index")
    assert "sluice index build" in caught.value.remedy


def test_no_index_and_one_of_another_shape(build, tmp_path: Path) -> None:
    with pytest.raises(SluiceError, match=r"index\.json: no such file"):
        read_index(tmp_path)
    build()
    path = tmp_path / "index" / "index.json"
    write_json(path, read_json(path) | {"extra": 1})
    with pytest.raises(SluiceError, match=r"index\.json: of another version"):
        read_index(tmp_path / "index")


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
