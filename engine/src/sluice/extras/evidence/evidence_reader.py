"""The sentences of passages that a question is about, and how doubtful it is that they answer it: a small model reads a
few sentences better than many, and answers from whatever it is shown.

Each word of the question is looked for among the words of a sentence, by the embedder's vectors of words in their
context; rare words weigh more. The sentences after the first are those that add most to what the others have.
engine/docs/decisions/answers-by-kind.md says how the weights were chosen.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Protocol

import numpy as np
import numpy.typing as npt

from sluice.core.text import sentences
from sluice.extras.evidence.small_talk import is_small_talk
from sluice.retrieval import Hit
from sluice.retrieval.embedder import TokenStates, Vectors
from sluice.retrieval.index_files import TextEncoder

# The score of a sentence: the nearness of the words of the question, the share that it repeats, and how far its passage
# is behind the best.
_OF_ALL, _OF_REPEATED, _OF_PASSAGE = 0.6, 0.15, 0.8
_OF_ADDED = 0.6  # of the score of a further sentence: what it adds
# Reasons, steps, comparisons, stories and second turns, which say little, take a sentence more; `how many` does not.
# What defines, and what is answered by yes or no, does where all that is then answered with has few words.
_NUMBERS = "many|much|long|often|big|large|small|fast|high|low|soon|far|old|late|quickly"
_COMPARES = r"\b(?:vs|versus|compar\w+|differ\w*|between|or|than)\b"
_EXPLAINS = re.compile(rf"(?i)\bwhy\b|\bhow\b(?! (?:{_NUMBERS})\b)|{_COMPARES}")
_DEFINES = re.compile(
    r"(?i)^\W*(?:what(?:'s| is| are| does)|define|explain)\b(?=(?:\W+\w+){1,7}\W*$)"
    r"|\bmean(?:s|ing)?\b|\bdefin|\bstands? for\b"
)
_ASKS_WHETHER = re.compile(
    r"(?i)(?:^|[.,;:?!-] )\W*(?:(?:and|so|but|then) )?"
    r"(?:(?:is|are|was|were|could|do|does|did|should|must|would|has|have|had)(?:n['’]?t)?"
    r"|am|can(?:['’]?t)?|may|might|shall|will|won['’]?t)\b"
)
_ASKS = re.compile(r"(?i)\?|\bi meant?\b")  # in a second turn
_DEFINED, _WHETHER = 55, 45  # words
_STORY = 20  # words
# Reasons often stand beside the sentence that has the words of the question: a share of the neighbour's score, and what
# a word that announces one is worth.
_WHY = re.compile(r"(?i)\bwhy\b|\breasons?\b|\bhow come\b")
_REASON = re.compile(r"(?i)\b(?:because|since|so that|so(?! far)|otherwise|therefore|reason|causes?)\b")
_OF_NEIGHBOUR, _OF_REASON = 0.1, 0.05
_OF_SAID = 0.1  # taken from a sentence of which the reply before has said three quarters
_DOUBTED = 3  # sentences of which a word must be in one
# Of the doubt: each figure of `_figures`, and what is added. `engine/benchmarks/evidence_weights.py` fits them anew.
_WEIGHTS, _BIAS = (1.62, -6.61, -3.52, 3.0, -6.42), -1.2
# Words of the embedder's vocabulary stand there by how common they are: `the` is the first of them.
_COMMONEST, _RAREST, _IN_PIECES = 1996, 30_522, 1.2
_REMEMBERED = 2000  # sentences, 25 KiB each
_WORD = re.compile(r"[^\W_]+")
_STEM = 5  # letters by which forms of a word are taken as one


class TokenEncoder(TextEncoder, Protocol):
    """An embedder that also gives the vectors of the words."""

    def token_states(self, texts: Sequence[str]) -> list[TokenStates]: ...


@dataclass(frozen=True)
class PassageEvidence:
    """What passages say about a question.

    Attributes:
        sentences: those that say most, each as a hit of its own, best first; none for small talk.
        doubt: that they answer the question, from 0 to 1; 1 where there is no passage, 0 for small talk.
        figures: from which the doubt follows.
    """

    sentences: list[Hit]
    doubt: float
    figures: tuple[float, ...] = ()


class EvidenceReader:
    """Safe for threads. `encoder`: gives the vectors of words in their context."""

    def __init__(self, encoder: TokenEncoder) -> None:
        self._encoder = encoder
        self._known: dict[str, npt.NDArray[np.float16]] = {}

    def read(self, question: str, hits: Sequence[Hit], number: int) -> PassageEvidence:
        """The sentences that say most about a question, and the doubt."""
        found = [replace(hit, text=one, start=hit.start + at) for hit in hits for at, one in _placed(hit.text)]
        before, _, asked = question.rpartition("\n")
        read = self._encoder.token_states([asked])[0]
        if is_small_talk(read) and not (before and _ASKS.search(asked)):
            return PassageEvidence([], 0.0)
        if not found:
            return PassageEvidence([], 1.0)
        words = list(_words(read))
        rarity = np.array([rare for _, rare, _ in words])
        near = self._nearness(np.asarray([vector for *_, vector in words]), [hit.text for hit in found])
        said = np.array([[word[:_STEM] in held for word, *_ in words] for held in map(_stems, found)], dtype=float)
        weights = (rarity + _OF_ALL) / (rarity + _OF_ALL).sum()
        behind = np.array([hit.score for hit in found]) - max(hit.score for hit in hits)
        stated = (near + _OF_REPEATED * said) * weights
        best = np.argsort(-stated.sum(axis=1) - _OF_PASSAGE * behind, kind="stable")[:_DOUBTED]
        figures = _figures(rarity, near[best].max(axis=0), said[best].max(axis=0), hits)
        doubt = 1 / (1 + math.exp(-_BIAS - float(np.dot(_WEIGHTS, figures))))
        more = bool(before or len(asked.split()) > _STORY or _EXPLAINS.search(asked))
        ahead = behind + _added(asked, before, found, stated.sum(axis=1) + _OF_PASSAGE * behind) / _OF_PASSAGE
        chosen = [found[at] for at in _chosen(stated, ahead, number and number + 1)]
        if not more:
            most = _DEFINED if _DEFINES.search(asked) else _WHETHER if _ASKS_WHETHER.search(asked) else 0
            more = _words_in(chosen[:number]) <= most
        return PassageEvidence(chosen[: number + more], doubt, figures)

    def _nearness(self, words: Vectors, texts: Sequence[str]) -> Vectors:
        """Of each word to the word of each text that is nearest to it: (texts, words)."""
        known = self._known
        if unknown := [text for text in dict.fromkeys(texts) if text not in known]:
            states = [_unit(one.states).astype(np.float16) for one in self._encoder.token_states(unknown)]
            new = dict(zip(unknown, states, strict=True))
            known = {**known, **new}
            self._known = known if len(known) <= _REMEMBERED else new
        held = [known[text] for text in texts]
        begins = np.cumsum([0, *(len(states) for states in held[:-1])])
        nearness: Vectors = np.maximum.reduceat(np.concatenate(held).astype(np.float32) @ words.T, begins)
        return nearness


def _added(asked: str, before: str, found: Sequence[Hit], score: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """To the score of each sentence, from its words and its neighbours: less for what the reply before has said, more
    for reasons where a question of one line asks why."""
    added = np.zeros_like(score)
    if before:
        told = _content(before.rpartition("\n")[2])
        for place, words in enumerate(_content(hit.text) for hit in found):
            added[place] -= _OF_SAID * (4 * len(words - told) <= len(words))
    elif _WHY.search(asked):
        beside = np.array([one.chunk_id == other.chunk_id for one, other in pairwise(found)], dtype=float)
        added[1:] = score[:-1] * beside
        added[:-1] = np.maximum(added[:-1], score[1:] * beside)
        added *= _OF_NEIGHBOUR
        added += [_OF_REASON * bool(_REASON.search(hit.text)) for hit in found]
    return added


def _chosen(stated: Vectors, behind: npt.NDArray[np.float64], number: int) -> list[int]:
    """Places of sentences, best first. `stated`: of each word of the question (sentences, words)."""
    chosen: list[int] = []
    left = np.zeros_like(behind)
    score = stated.sum(axis=1)
    while len(chosen) < min(number, len(score)):
        added = np.maximum(stated - stated[chosen].max(axis=0), 0).sum(axis=1) if chosen else score
        rest = (1 - _OF_ADDED) * score + _OF_ADDED * added + _OF_PASSAGE * behind
        chosen.append(int(np.argmax(rest + left)))
        left[chosen[-1]] = -np.inf
    return chosen


def _figures(rarity: Vectors, near: Vectors, said: Vectors, hits: Sequence[Hit]) -> tuple[float, ...]:
    """What tells a question that passages answer: its rare words are there, or near; one passage stands out."""
    lowest = np.sort(near)[:2]
    scores = sorted((hit.score for hit in hits), reverse=True)
    return (
        float(((1 - near) * (1 - said) * rarity).sum()),
        float(lowest[-1]),
        len(rarity) / 10,
        math.log(len(rarity)),
        scores[0] - scores[min(1, len(scores) - 1)],
    )


def _words(text: TokenStates) -> Iterator[tuple[str, float, Vectors]]:
    """Each word of a text with its rarity and its vector; a text without words is one."""
    words: list[tuple[str, list[int]]] = []
    for place, token in enumerate(text.tokens):
        if token.startswith("##") and words:
            words[-1] = (words[-1][0] + token[2:], [*words[-1][1], place])
        else:
            words.append((token, [place]))
    for word, places in [one for one in words if one[0].isalnum()] or [("", list(range(len(text.tokens))))]:
        common = math.log(max(text.ids[places[0]], _COMMONEST) / _COMMONEST) / math.log(_RAREST / _COMMONEST)
        yield word, _IN_PIECES if len(places) > 1 else common, _unit(text.states[places].mean(axis=0))


def _unit(vectors: Vectors) -> Vectors:
    unit: Vectors = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return unit


def _words_in(hits: Sequence[Hit]) -> int:
    return sum(len(hit.text.split()) for hit in hits)


def _spoken(text: str) -> set[str]:
    return set(_WORD.findall(text.lower()))


def _content(text: str) -> set[str]:
    """The stems of its words but the shortest, which stand everywhere, and its numbers."""
    return {word[:_STEM] for word in _spoken(text) if len(word) > 3 or word.isdigit()}


def _stems(hit: Hit) -> set[str]:
    return {word[:_STEM] for word in _spoken(f"{hit.title} {hit.text}")}


def _placed(text: str) -> Iterator[tuple[int, str]]:
    at = 0
    for one in sentences(text):
        at = text.index(one, at)
        yield at, one
