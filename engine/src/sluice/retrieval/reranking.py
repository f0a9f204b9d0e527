"""Reranks the results of a search with any reranker that has a LangChain class.

LangChain calls them document compressors: cross-encoders, and the services of Cohere, Amazon Bedrock and others, each
an integration of its own. The starter has none: its corpus is small, and the hybrid search finds what there is.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sluice.retrieval.passages import Hit
from sluice.retrieval.retriever import Retriever

if TYPE_CHECKING:
    from langchain_core.documents import BaseDocumentCompressor


class RerankingRetriever(Retriever):
    """Searches for `candidates` chunks and lets `reranker` say which are the best. It sees title and text."""

    def __init__(self, inner: Retriever, reranker: BaseDocumentCompressor, *, candidates: int = 20) -> None:
        self._inner = inner
        self._reranker = reranker
        self._candidates = candidates

    def search(self, question: str, *, k: int, tenant: str | None = None) -> list[Hit]:
        """The reranker's best `k`. `score` is the reranker's where it gives one (`relevance_score`); `similarity` stays
        the cosine, which the service declines by. What the reranker leaves out is left out."""
        from langchain_core.documents import Document

        hits = {hit.chunk_id: hit for hit in self._inner.search(question, k=max(k, self._candidates), tenant=tenant)}
        if not hits:
            return []
        documents = [Document(id=key, page_content=f"{hit.title}: {hit.text}") for key, hit in hits.items()]
        ranked = self._reranker.compress_documents(documents, question)
        return [
            replace(hits[found.id], score=float(found.metadata.get("relevance_score", hits[found.id].score)))
            for found in ranked
            if found.id in hits
        ][:k]
