from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.documents import BaseDocumentCompressor, Document

from sluice.retrieval.passages import Hit
from sluice.retrieval.reranking import RerankingRetriever
from sluice.retrieval.retriever import Retriever

HITS = [Hit(f"d{n}#0", f"d{n}", "T", f"Text {n}", score=1 / n, similarity=0.5 + n / 100) for n in range(1, 10)]


class Scripted(Retriever):
    """Finds the first k of HITS, and notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def search(self, question: str, *, k: int, tenant: str | None = None) -> list[Hit]:
        self.asked.append((question, k, tenant))
        return HITS[:k] if question else []


class Backwards(BaseDocumentCompressor):
    """Thinks the last is the best, and nothing of `Text 5`."""

    def compress_documents(
        self,
        documents: Sequence[Document],
        query: str,  # noqa: ARG002
        callbacks: Any = None,  # noqa: ARG002
    ) -> Sequence[Document]:
        kept = [each for each in documents if "Text 5" not in each.page_content]
        assert all(each.page_content.startswith("T: ") for each in kept)
        return [
            Document(id=each.id, page_content="", metadata={"relevance_score": n / 10})
            for n, each in enumerate(reversed(kept), 1)
        ]


def test_the_reranker_s_order_and_score_with_what_was_found() -> None:
    inner = Scripted()
    hits = RerankingRetriever(inner, Backwards(), candidates=6).search("Which?", k=3, tenant="a")
    assert inner.asked == [("Which?", 6, "a")]
    assert [(hit.chunk_id, hit.score, hit.similarity) for hit in hits] == [
        ("d6#0", 0.1, 0.56),
        ("d4#0", 0.2, 0.54),
        ("d3#0", 0.3, 0.53),
    ]
    assert hits[0].text == "Text 6"


def test_more_than_the_candidates_can_be_asked_for_and_nothing_is_not_reranked() -> None:
    reranking = RerankingRetriever(Scripted(), Backwards(), candidates=2)
    assert len(reranking.search("Which?", k=4)) == 4
    assert reranking.search("", k=4) == []


def test_as_langchain() -> None:
    (document,) = RerankingRetriever(Scripted(), Backwards(), candidates=3).as_langchain(k=1).invoke("Which?")
    assert document.id == "d3#0"
