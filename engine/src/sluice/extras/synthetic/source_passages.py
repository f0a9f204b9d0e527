"""Source passages for questions: those of articles that the evaluation does not cover."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest

from sluice.core.errors import SluiceError
from sluice.data.rows import Document, Row
from sluice.retrieval.chunking import ChunkerSettings, chunk

_FEWEST_WORDS = 12  # a heading or a list of names holds no question worth asking


@dataclass(frozen=True)
class SourcePassage:
    """A piece of a document, cut as the index cuts it: what training and serving show the model."""

    document: Document
    text: str


def choose(
    corpus: Sequence[Document], evaluation: Sequence[Row], chunker: ChunkerSettings, *, seed: int
) -> list[SourcePassage]:
    """All passages that may be used, in an order drawn by `seed`: one of each document, then a second of each, …

    An article is what has one title, however many documents it is cut into. Articles with a document that an evaluation
    row names are left out whole, and so are documents of one tenant: the model answers everybody. SluiceError when
    nothing is left.
    """
    asked = {name for row in evaluation for name in row.doc_ids}
    measured = {document.title for document in corpus if document.id in asked}
    usable = [document for document in corpus if document.tenant is None and document.title not in measured]
    rng = random.Random(seed)
    of_documents = []
    for document in rng.sample(usable, len(usable)):
        pieces = [
            SourcePassage(document, piece.text)
            for piece in chunk([document], chunker)
            if len(piece.text.split()) >= _FEWEST_WORDS
        ]
        of_documents.append(rng.sample(pieces, len(pieces)))
    found = [passage for passage in chain.from_iterable(zip_longest(*of_documents)) if passage]
    if not found:
        raise SluiceError(
            f"none of {len(corpus)} documents may be used: {len(corpus) - len(usable)} are of articles that evaluation "
            "asks about, or of one tenant",
            remedy="add documents to data/corpus that no row of data/eval.jsonl names",
        )
    return found
