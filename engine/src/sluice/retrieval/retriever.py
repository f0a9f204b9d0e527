"""The interface of a search for passages: a LangChain retriever whose hits also say how near they are."""

from __future__ import annotations

from abc import abstractmethod

from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from pydantic import SkipValidation

from sluice.retrieval.index_files import TextEncoder
from sluice.retrieval.passages import Hit


class Retriever(BaseRetriever):
    """Searches one collection. Thread-safe. `invoke` takes `k` and `tenant` by name.

    Attributes:
        embedder: what makes a question a vector; the guards ask it as well.
        k: number of documents that `invoke` gives unless it is told.
    """

    embedder: SkipValidation[TextEncoder]
    k: int = 4

    @abstractmethod
    def search(self, question: str, *, k: int, tenant: str | None = None) -> list[Hit]:
        """Searches the chunks for everybody and the tenant's own."""

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,  # noqa: ARG002 - the base class names it
        k: int | None = None,
        tenant: str | None = None,
    ) -> list[Document]:
        return [
            Document(
                page_content=hit.text,
                id=hit.chunk_id,
                metadata={"doc_id": hit.doc_id, "title": hit.title, "score": hit.score, "similarity": hit.similarity},
            )
            for hit in self.search(query, k=k or self.k, tenant=tenant)
        ]
