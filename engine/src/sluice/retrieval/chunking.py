"""Splits documents into chunks. A strategy is one function in `CHUNKERS`; its settings are part of the index digest.

All cut without gap or overlap and in order: joined by spaces, the chunks of a document are its text again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from sluice.core.settings import Settings
from sluice.data.rows import Document


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


def paragraphs(text: str, max_words: int) -> list[str]:
    """Paragraphs (blank-line separated); one over `max_words` is split between sentences into even pieces below it."""
    pieces: list[str] = []
    for paragraph in text.split("\n\n"):
        words = " ".join(paragraph.split())
        if words:
            pieces += _split_sentences(words, max_words)
    return pieces


def sentences(text: str, max_words: int) -> list[str]:
    """The whole text in even pieces of whole sentences, for texts whose paragraphs are lines or say little alone."""
    words = " ".join(text.split())
    return _split_sentences(words, max_words) if words else []


def words(text: str, max_words: int) -> list[str]:
    """Pieces of `max_words` words, the last one shorter, for texts without sentences such as logs and tables."""
    found = text.split()
    return [" ".join(found[at : at + max_words]) for at in range(0, len(found), max_words)]


def _split_sentences(paragraph: str, max_words: int) -> list[str]:
    total = len(paragraph.split())
    if total <= max_words:
        return [paragraph]
    goal = total / -(-total // max_words)
    pieces, current, count = [], "", 0
    for sentence in paragraph.replace("? ", "?\n").replace("! ", "!\n").replace(". ", ".\n").split("\n"):
        size = len(sentence.split())
        if current and count + size > max(goal, 1) * 1.1:
            pieces.append(current)
            current, count = "", 0
        current = f"{current} {sentence}".strip()
        count += size
    return [*pieces, current]


CHUNKERS: dict[str, Callable[[str, int], list[str]]] = {
    "paragraph": paragraphs,
    "sentences": sentences,
    "words": words,
}


def chunk(documents: list[Document], settings: ChunkerSettings) -> list[Chunk]:
    """Chunks of all documents in order; ids are `<doc id>#<number from 0>`."""
    return [
        Chunk(id=f"{document.id}#{number}", doc_id=document.id, title=document.title, text=text, tenant=document.tenant)
        for document in documents
        for number, text in enumerate(CHUNKERS[settings.name](document.text, settings.max_words))
    ]


def starts(chunks: Sequence[Chunk]) -> list[int]:
    """Where each chunk begins in its document, in characters of the text with every run of white space as one space.

    A chunker cuts without gap or overlap and in order, so joined by spaces the chunks are that text again.
    """
    ends: dict[str, int] = {}
    found = []
    for one in chunks:
        found.append(ends.get(one.doc_id, 0))
        ends[one.doc_id] = found[-1] + len(one.text) + 1
    return found
