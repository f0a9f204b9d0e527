"""Splits documents into chunks by langchain-text-splitters. The settings are part of the index digest.

All cut without gap or overlap and in order: joined by spaces, the chunks of a document are its text again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from sluice.core.settings import Settings
from sluice.data.rows import Document

_AFTER_SENTENCES = r"(?<=[.!?]) "


class ChunkerSettings(Settings):
    """`paragraph`: one longer than `max_words` is cut at sentence ends. `sentences`: as many as fit into `max_words`,
    whatever the paragraphs. `words`: so many, whatever the sentences."""

    name: Literal["paragraph", "sentences", "words"] = "paragraph"
    max_words: int = 120


class Chunk(Settings):
    """`tenant`: who alone may see it; None means everybody."""

    id: str
    doc_id: str
    title: str
    text: str
    tenant: str | None = None

    def row(self) -> dict[str, str]:
        """As it is stored. No tenant is no key: an index without tenants has the digest it always had."""
        return self.model_dump(exclude_none=True)


def chunk(documents: list[Document], settings: ChunkerSettings) -> list[Chunk]:
    """Chunks of all documents in order."""
    from langchain_text_splitters import RecursiveCharacterTextSplitter

    splitter = RecursiveCharacterTextSplitter(
        # A sentence that is too long is cut between words.
        [" "] if settings.name == "words" else [_AFTER_SENTENCES, " "],
        is_separator_regex=True,
        keep_separator="end",
        chunk_size=settings.max_words,
        chunk_overlap=0,
        length_function=lambda text: len(text.split()),
    )

    def pieces(text: str) -> list[str]:
        blocks = text.split("\n\n") if settings.name == "paragraph" else [text]
        return [piece.strip() for block in blocks for piece in splitter.split_text(" ".join(block.split()))]

    return [
        Chunk(id=f"{document.id}#{number}", doc_id=document.id, title=document.title, text=text, tenant=document.tenant)
        for document in documents
        for number, text in enumerate(pieces(document.text))
    ]


def starts(chunks: Sequence[Chunk]) -> list[int]:
    """Where each chunk begins in its document, in characters of the text with every run of white space as one space."""
    ends: dict[str, int] = {}
    found = []
    for one in chunks:
        found.append(ends.get(one.doc_id, 0))
        ends[one.doc_id] = found[-1] + len(one.text) + 1
    return found
