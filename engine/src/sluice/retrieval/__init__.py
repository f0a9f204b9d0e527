"""Retrieval: search results and their form in a prompt, which is the same in training and in serving."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from sluice.core.errors import SluiceError


class RetrievalError(SluiceError):
    """The store didn't answer, or not in time."""


@dataclass(frozen=True)
class Hit:
    """One retrieved chunk. `score`: by which hits are ranked (higher is better); `similarity`: cosine in [-1, 1].

    `start`: where the chunk begins in its document, in characters of the text with white space collapsed.
    """

    chunk_id: str
    doc_id: str
    title: str
    text: str
    score: float
    similarity: float
    start: int = 0


class Search(Protocol):
    """The search, called in a thread."""

    def search(self, question: str, *, k: int, tenant: str | None = None) -> list[Hit]: ...


def format_passages(hits: Sequence[Hit]) -> str:
    """Return one line a passage, numbered from 1: `[1] Title: text`; without hits, a line that says so."""
    return "\n".join(f"[{number}] {hit.title}: {hit.text}" for number, hit in enumerate(hits, 1)) or "(no passages)"


def format_history(messages: Sequence[Mapping[str, str]]) -> str:
    """Return earlier messages, one line each, with a blank line behind; empty where there are none."""
    lines = [f"{message['role'].capitalize()}: {' '.join(message['content'].split())}" for message in messages]
    return "\n".join(["Earlier:", *lines, "", ""]) if lines else ""
