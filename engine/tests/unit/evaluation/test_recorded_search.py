from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from sluice.core.atomic_files import write_json
from sluice.evaluation.recorded_chat import asking
from sluice.evaluation.recorded_search import RecordedSearch, search_digest
from sluice.evaluation.response_cache import ResponseCache
from sluice.serving.release_parts import ReleaseBundle
from support.serving.fakes import HITS, ScriptedRetriever, ScriptMissError, scripted_bundle

QUESTION = "How much overlap do chunks have?"


def test_a_search_is_made_once_for_each_question_and_tenant(tmp_path: Path) -> None:
    inner = ScriptedRetriever(HITS)
    search = RecordedSearch(ResponseCache(tmp_path), "d", lambda: inner, k=5)
    with asking(0) as record:
        hits = search.search(QUESTION, k=1)
    assert hits == HITS[QUESTION][:1]
    assert (record.live, record.recorded, len(record.keys)) == (True, False, 1)
    with asking(0) as record:
        assert search.search(QUESTION, k=2) == HITS[QUESTION]
    assert (record.live, record.recorded) == (False, True)
    assert inner.asked == [(QUESTION, 5)]
    search.search(QUESTION, k=1, tenant="acme")
    search.search(QUESTION, k=6)
    assert (inner.asked[1:], inner.tenants[1:]) == ([(QUESTION, 5), (QUESTION, 6)], ["acme", None])


def test_a_search_that_fails_is_not_kept(tmp_path: Path) -> None:
    search = RecordedSearch(ResponseCache(tmp_path), "d", lambda: ScriptedRetriever({}), k=5)
    with pytest.raises(ScriptMissError):
        search.search(QUESTION, k=1)
    assert list(tmp_path.rglob("*.json")) == []


def bundle_of(folder: Path, *, index: str = "i", embedder: bytes = b"e") -> ReleaseBundle:
    write_json(folder / "index" / "index.json", {"digest": index})
    (folder / "embedder.gguf").write_bytes(embedder)
    return dataclasses.replace(scripted_bundle(), index=folder / "index", embedder=folder / "embedder.gguf")


def test_index_and_embedder_decide_about_a_search(tmp_path: Path) -> None:
    digests = [
        search_digest(bundle_of(tmp_path / "a")),
        search_digest(bundle_of(tmp_path / "b")),
        search_digest(bundle_of(tmp_path / "c", index="j")),
        search_digest(bundle_of(tmp_path / "d", embedder=b"f")),
    ]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3
