"""The answer of an application, its errors, and its citations: the passages that contain it word for word."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Any

from sluice.core.errors import SluiceError
from sluice.llm.chat import FinishReason
from sluice.llm.chat import Usage as Usage
from sluice.retrieval import Hit

_WORD = re.compile(r"\w+")
_ENDS = re.compile(r"(?<=[.!?])\s+|(?:^|\n)\d+\. ")  # of sentences, and the beginnings of a list's lines


@dataclass(frozen=True)
class PromptPassage:
    """A chunk that was in the prompt; `start` is its place in the document."""

    id: str
    start: int
    text: str


@dataclass(frozen=True)
class Citation:
    """A place in a document that holds the answer, or a sentence of it. Places count characters of the text with every
    run of white space as one: passage.text[start - passage.start : end - passage.start] == text. `address` opens the
    page there."""

    document: str
    title: str
    start: int
    end: int
    text: str
    score: float
    passage: PromptPassage
    address: str | None = None


def words(text: str) -> list[str]:
    return [_folded(match) for match in _WORD.finditer(text)]


def first_words(text: str) -> list[str]:
    """Return the words of the first line, by which a decline is recognised."""
    return words(text.strip().partition("\n")[0])


def cite(answer: str, hits: Sequence[Hit]) -> tuple[Citation, ...]:
    """Cite the first occurrence of the whole answer in each hit; without any, that of each sentence."""
    return _cited([words(answer)], hits) or _cited([words(one) for one in _ENDS.split(answer)], hits)


def _cited(sentences: Sequence[Sequence[str]], hits: Sequence[Hit]) -> tuple[Citation, ...]:
    found = []
    for wanted, hit in product(sentences, hits):
        if span := _find(wanted, hit.text):
            start, end = hit.start + span[0], hit.start + span[1]
            passage = PromptPassage(hit.chunk_id, hit.start, hit.text)
            found.append(Citation(hit.doc_id, hit.title, start, end, hit.text[slice(*span)], hit.score, passage))
    return tuple(found)


def _find(wanted: Sequence[str], passage: str) -> tuple[int, int] | None:
    places, present = _passage_words(passage)
    for first in range(len(present) - len(wanted) + 1):
        if wanted and present[first : first + len(wanted)] == wanted:
            return places[first][0], places[first + len(wanted) - 1][1]
    return None


@lru_cache(maxsize=1024)
def _passage_words(passage: str) -> tuple[list[tuple[int, int]], list[str]]:
    matches = list(_WORD.finditer(passage))
    return [match.span() for match in matches], [_folded(match) for match in matches]


def _folded(match: re.Match[str]) -> str:
    return unicodedata.normalize("NFKC", match[0]).casefold()


# In place of an answer that a guard has refused. What it found is in `blocked`: programs read it, attackers need not.
REFUSED = "I can't help with that request."
TOO_LONG = "Your question is too long. Shorten it and ask again."


class RequestError(SluiceError):
    """The request can't be served; `param` names the field at fault."""

    def __init__(self, message: str, *, param: str, code: str = "invalid_request") -> None:
        super().__init__(message)
        self.param, self.code = param, code


class ModelError(SluiceError):
    """The model gave no whole answer. `retry_after` is in seconds; `failure` is a code that is safe to log."""

    retry_after: float | None = None
    failure: str = ""


class ModelTimeoutError(ModelError):
    """The answer wasn't there in time."""


class ModelBusyError(ModelError):
    """The model had no free place in time."""


class SearchError(ModelError):
    """The search failed, so the model wasn't asked."""

    retry_after = 1.0


@dataclass(frozen=True)
class Answer:
    """`blocked`: reason codes of the guard that refused, or that withheld the result of a caller's tool, joined by
    ", ", or None. Times in milliseconds.

    `declined`: the first line is the decline text, up to case, punctuation and white space, or there is a refusal in
    place of the whole answer. `ttft_ms`: until the first
    text left the chain, after its check; None when there was none. `provider`: that answered, "" when none was called;
    `usage` and `cost` are of all calls of models, condensing the conversation too; `cost` in US dollars, None when no
    provider was called or the tokens are unknown. `tool_calls`: of the caller's tools, in the form of OpenAI's API.
    `refusal`: the text is none in the form that the caller asked for. `steps`: calls of own tools.
    """

    text: str
    declined: bool
    blocked: str | None
    citations: tuple[Citation, ...]
    hits: tuple[Hit, ...]
    usage: Usage
    finish_reason: FinishReason
    ttft_ms: float | None
    latency_ms: float
    provider: str = ""
    cost: float | None = None
    model: str = ""
    tool_calls: tuple[Mapping[str, Any], ...] = ()
    refusal: bool = False
    steps: tuple[Mapping[str, Any], ...] = ()
