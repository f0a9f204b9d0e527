"""The versioned index as files: chunks, vectors, the addresses of pages, and an index.json with their inputs. A release
pins them.

Chunks have no gap or overlap: those of a document are its text again, but for white space.
"""

from __future__ import annotations

import io
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from pydantic import ValidationError

from sluice.core.atomic_files import read_json, read_jsonl, write_atomic, write_json, write_jsonl
from sluice.core.digests import digest_of, digest_of_file
from sluice.core.errors import SluiceError
from sluice.core.settings import Settings
from sluice.data.rows import Document
from sluice.llm.model_files import ModelSpec
from sluice.retrieval.embedder import Vectors
from sluice.retrieval.markdown_chunks import blocks, sections

PAGES = "pages.json"
_AFTER_SENTENCES = r"(?<=[.!?]) "


class ChunkerSettings(Settings):
    """`structure`: along headings, lists, tables and code, lines kept; `max_words` counts words and marks. `paragraph`:
    split at sentence ends if over `max_words`. `sentences`: as many as fit. `words`: so many words."""

    name: Literal["structure", "paragraph", "sentences", "words"] = "paragraph"
    max_words: int = 120


class Chunk(Settings):
    """A piece of a document. Only the `tenant` may see it; None means everybody.

    `start` counts characters of the document's text. Without it, chunks follow each other in the text with white space
    collapsed. `title` is the document's, with the headings above the chunk."""

    id: str
    doc_id: str
    title: str
    text: str
    tenant: str | None = None
    start: int | None = None

    def row(self) -> dict[str, Any]:
        """Return the stored form. No tenant is no key: an index without tenants keeps its digest."""
        return self.model_dump(exclude_none=True)


def chunk(documents: list[Document], settings: ChunkerSettings) -> list[Chunk]:
    if settings.name == "structure":
        return [one for document in documents for one in _along_structure(document, settings.max_words)]
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


def _along_structure(document: Document, limit: int) -> Iterator[Chunk]:
    for number, piece in enumerate(sections(document.text, limit)):
        headings = (name for name in piece.path if name != document.title)
        yield Chunk(
            id=f"{document.id}#{number}",
            doc_id=document.id,
            title=" › ".join((document.title, *headings)),
            text=piece.text,
            tenant=document.tenant,
            start=piece.start,
        )


def starts(chunks: Sequence[Chunk]) -> list[int]:
    """Return where each chunk begins in its document."""
    ends: dict[str, int] = {}
    found = []
    for one in chunks:
        found.append(ends.get(one.doc_id, 0) if one.start is None else one.start)
        ends[one.doc_id] = found[-1] + len(one.text) + 1
    return found


def pages_of(documents: Sequence[Document], settings: ChunkerSettings) -> dict[str, Any]:
    """Return the address of each document that has one, and the places of its headings with their anchors."""
    web = [document for document in documents if document.source.startswith(("https://", "http://"))]
    structured = settings.name == "structure"  # the places of other chunks are those of a text without lines
    return {one.id: [one.source, list(_anchors(one.text)) if structured else []] for one in web}


def _anchors(text: str) -> Iterator[tuple[int, str]]:
    # As GitHub writes them, and most generators of sites do; where an anchor is another, the page opens at its top.
    seen: Counter[str] = Counter()
    for block in blocks(text):
        if block.level:
            slug = re.sub(r"[^\w -]", "", block.heading.lower()).strip().replace(" ", "-")
            yield block.start, f"{slug}-{seen[slug]}" if seen[slug] else slug
            seen[slug] += 1


def address_of(pages: Mapping[str, Any], document: str, start: int) -> str | None:
    """Return the address that opens a document at the heading above a place; None if it has no address."""
    source, anchors = pages.get(document, (None, []))
    anchor = next((anchor for begin, anchor in reversed(anchors) if begin <= start), "")
    return f"{source}#{anchor}" if source and anchor and "#" not in source else source


class TextEncoder(Protocol):
    """A source of vectors: one row of length 1 for each text."""

    def embed(self, texts: Sequence[str]) -> Vectors: ...


class EmbedderIdentity(Settings):
    source: str
    sha256: str
    convert: str | None


class IndexInfo(Settings):
    """index.json. `digest` is over embedder, chunker and chunks: the same content has the same digest everywhere."""

    digest: str
    embedder: EmbedderIdentity
    chunker: ChunkerSettings
    documents: int
    chunks: int
    dimension: int
    files: dict[str, str]

    @property
    def collection(self) -> str:
        """Return the name in a store. The number is that of the table's layout: older code may use the store too."""
        return f"chunks_v3_{self.digest[:16]}"


def build_index(
    documents: list[Document], embedder: TextEncoder, spec: ModelSpec, settings: ChunkerSettings, out: Path
) -> IndexInfo:
    """Write the index of `documents`, in the order of their ids, to `out`, whole or not at all."""
    chunks = chunk(sorted(documents, key=lambda document: document.id), settings)
    if not chunks:
        raise SluiceError("the corpus has no text to index", remedy="add documents to data/corpus/")
    vectors = embedder.embed([f"{one.title}: {one.text}" for one in chunks])
    identity = identity_of(spec)
    rows = [c.row() for c in chunks]
    draft = out.with_name(f".{out.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    write_jsonl(draft / "chunks.jsonl", rows)
    if pages := pages_of(documents, settings):
        write_json(draft / PAGES, pages)
    packed = io.BytesIO()
    np.save(packed, vectors)
    write_atomic(draft / "vectors.npy", packed.getvalue())
    info = IndexInfo(
        digest=digest_of_index(identity, settings, rows),
        embedder=identity,
        chunker=settings,
        documents=len(documents),
        chunks=len(chunks),
        dimension=int(vectors.shape[1]),
        files={
            name: digest_of_file(draft / name) for name in ("chunks.jsonl", *([PAGES] if pages else []), "vectors.npy")
        },
    )
    write_json(draft / "index.json", info.model_dump())
    shutil.rmtree(out, ignore_errors=True)
    draft.replace(out)
    return info


def identity_of(spec: ModelSpec) -> EmbedderIdentity:
    return EmbedderIdentity(source=spec.source, sha256=spec.sha256, convert=spec.convert)


def digest_of_index(embedder: EmbedderIdentity, chunker: ChunkerSettings, rows: list[dict[str, Any]]) -> str:
    return digest_of({"embedder": embedder.model_dump(), "chunker": chunker.model_dump(), "chunks": rows})


def read_info(folder: Path) -> IndexInfo:
    try:
        return IndexInfo.model_validate(read_json(folder / "index.json"))
    except ValidationError as error:
        raise SluiceError(
            f"{folder / 'index.json'}: of another version: {error.errors()[0]['msg']}",
            remedy="build the index again: `sluice index build`",
        ) from None


def read_index(folder: Path) -> tuple[IndexInfo, list[Chunk], Vectors]:
    """Return the index in `folder`; SluiceError names a file that doesn't match index.json."""
    info = read_info(folder)
    for name, expected in info.files.items():
        if not (folder / name).is_file() or digest_of_file(folder / name) != expected:
            raise SluiceError(
                f"{folder / name}: does not match index.json", remedy="build the index again: `sluice index build`"
            )
    chunks = [Chunk.model_validate(row) for row in read_jsonl(folder / "chunks.jsonl")]
    return info, chunks, np.load(folder / "vectors.npy")
