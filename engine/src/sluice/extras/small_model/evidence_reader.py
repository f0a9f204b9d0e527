"""Chooses the sentences that a question is about and measures the doubt that they answer it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from sluice.extras.small_model import constants
from sluice.extras.small_model.questions import is_small_talk
from sluice.retrieval import Hit
from sluice.retrieval.embedder import Embedder, TokenStates, Vectors
from sluice.retrieval.markdown_chunks import statements

_REMEMBERED = 2000  # sentences, 25 KiB each
_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True)
class PassageEvidence:
    """The best sentences, each as a hit, and the doubt (0 to 1) that they answer the question, from `figures`."""

    sentences: list[Hit]
    doubt: float
    figures: tuple[float, ...] = ()


class EvidenceReader:
    """Safe for threads."""

    def __init__(self, encoder: Embedder) -> None:
        self._encoder = encoder
        self._known: dict[str, npt.NDArray[np.float16]] = {}

    def read(self, question: str, hits: Sequence[Hit], number: int) -> PassageEvidence:
        found = [replace(hit, text=one, start=hit.start + at) for hit in hits for at, one in statements(hit.text)]
        before, _, asked = question.rpartition("\n")
        read = self._encoder.token_states([asked])[0]
        if is_small_talk(read) and not (before and constants.ASKS_AGAIN.search(asked)):
            return PassageEvidence([], 0.0)
        if not found:
            return PassageEvidence([], 1.0)
        words = list(_words(read))
        rarity = np.array([rare for _, rare, _ in words])
        near = self._nearness(np.asarray([vector for *_, vector in words]), [hit.text for hit in found])
        stems = [word[: constants.STEM] for word, *_ in words]
        held = [{word[: constants.STEM] for word in _spoken(f"{hit.title} {hit.text}")} for hit in found]
        said = np.array([[stem in words for stem in stems] for words in held], dtype=float)
        weights = (rarity + constants.OF_ALL) / (rarity + constants.OF_ALL).sum()
        behind = np.array([hit.score for hit in found]) - max(hit.score for hit in hits)
        stated = (near + constants.OF_REPEATED * said) * weights
        best = np.argsort(-stated.sum(axis=1) - constants.OF_PASSAGE * behind, kind="stable")[: constants.DOUBTED]
        figures = _figures(rarity, near[best].max(axis=0), said[best].max(axis=0), hits)
        doubt = 1 / (1 + math.exp(-constants.DOUBT_BIAS - float(np.dot(constants.DOUBT_WEIGHTS, figures))))
        more = bool(before or len(asked.split()) > constants.STORY or constants.EXPLAINS.search(asked))
        added = _added(asked, before, found, stated.sum(axis=1) + constants.OF_PASSAGE * behind)
        ahead = behind + added / constants.OF_PASSAGE
        chosen = [found[at] for at in _chosen(stated, ahead, number and number + 1)]
        if not more:
            yes_or_no = constants.WHETHER if constants.ASKS_WHETHER.search(asked) else 0
            few = constants.DEFINED if constants.DEFINES.search(asked) else yes_or_no
            more = sum(len(hit.text.split()) for hit in chosen[:number]) <= few
        return PassageEvidence(chosen[: number + more], doubt, figures)

    def _nearness(self, words: Vectors, texts: Sequence[str]) -> Vectors:
        """Return the nearness of each word to the nearest word of each text: (texts, words)."""
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
    """Return additions to the scores: less for what the last reply said, more for reasons if the question asks why."""
    added = np.zeros_like(score)
    if before:
        told = _content(before.rpartition("\n")[2])
        for place, words in enumerate(_content(hit.text) for hit in found):
            added[place] -= constants.OF_SAID * (4 * len(words - told) <= len(words))
    elif constants.WHY.search(asked):
        beside = np.array([one.chunk_id == other.chunk_id for one, other in pairwise(found)], dtype=float)
        added[1:] = score[:-1] * beside
        added[:-1] = np.maximum(added[:-1], score[1:] * beside)
        added *= constants.OF_NEIGHBOUR
        added += [constants.OF_REASON * bool(constants.REASON.search(hit.text)) for hit in found]
    return added


def _chosen(stated: Vectors, behind: npt.NDArray[np.float64], number: int) -> list[int]:
    """Return the indexes of the sentences to show, best first. `stated` is (sentences, words)."""
    chosen: list[int] = []
    left = np.zeros_like(behind)
    score = stated.sum(axis=1)
    while len(chosen) < min(number, len(score)):
        added = np.maximum(stated - stated[chosen].max(axis=0), 0).sum(axis=1) if chosen else score
        rest = (1 - constants.OF_ADDED) * score + constants.OF_ADDED * added + constants.OF_PASSAGE * behind
        chosen.append(int(np.argmax(rest + left)))
        left[chosen[-1]] = -np.inf
    return chosen


def _figures(rarity: Vectors, near: Vectors, said: Vectors, hits: Sequence[Hit]) -> tuple[float, ...]:
    """Return the features of the doubt: rare words missing or far, and the lead of the best passage."""
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
    """Yield each word with its rarity and its vector; a text without words is one word."""
    words: list[tuple[str, list[int]]] = []
    for place, token in enumerate(text.tokens):
        if token.startswith("##") and words:
            words[-1] = (words[-1][0] + token[2:], [*words[-1][1], place])
        else:
            words.append((token, [place]))
    for word, places in [one for one in words if one[0].isalnum()] or [("", list(range(len(text.tokens))))]:
        rank = max(text.ids[places[0]], constants.COMMONEST)
        common = math.log(rank / constants.COMMONEST) / math.log(constants.RAREST / constants.COMMONEST)
        yield word, constants.IN_PIECES if len(places) > 1 else common, _unit(text.states[places].mean(axis=0))


def _unit(vectors: Vectors) -> Vectors:
    unit: Vectors = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return unit


def _spoken(text: str) -> set[str]:
    return set(_WORD.findall(text.lower()))


def _content(text: str) -> set[str]:
    """Return the stems of all but the shortest words, and the numbers."""
    return {word[: constants.STEM] for word in _spoken(text) if len(word) > 3 or word.isdigit()}
