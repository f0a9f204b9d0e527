"""Proposes rows for the dataset from declined or disliked answers.

Declined or low-scored questions are redacted, clustered by similarity, and proposed as one row for each cluster, with a
suggested answer where the corpus holds one. A proposed row is marked by its key `status`, and every reader of rows
refuses it (data/rows.py): nothing enters training or evaluation unseen. Runs as `sluice data harvest`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sluice.data import privacy
from sluice.data.data_policy import PrivacyPolicy
from sluice.data.near_duplicates import repeats_across, words
from sluice.data.rows import Document, Row
from sluice.evaluation.case_changes import RIGHT
from sluice.extras.traffic.drift import Embed
from sluice.extras.traffic.recorded_exchange import Exchange

# Cosine distance up to which questions are taken for the same, on average of a cluster.
_ALIKE = 0.3
_TAG = "harvested"
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
_TRACES = 5


@dataclass(frozen=True)
class HarvestProposal:
    """A row to read. `asked`: exchanges of its cluster, of which `declined` and `disliked`; `similarity`: of its
    question to the sentence that is suggested, 0 without one; `traces`: some of them, to look at."""

    row: Row
    asked: int
    declined: int
    disliked: int
    similarity: float
    traces: tuple[str, ...]


@dataclass
class HarvestResult:
    """`left_out`: exchanges or clusters by why they are not proposed."""

    proposals: list[HarvestProposal] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)

    def leave_out(self, why: str, number: int = 1) -> None:
        if number:
            self.left_out[why] = self.left_out.get(why, 0) + number


@dataclass(frozen=True)
class HarvestSettings:
    """`at_least`: exchanges that a cluster needs, so that no single user is put on show; `most`: proposals, those that
    were asked most; `min_similarity`: nearness from which a sentence of the corpus is suggested as the answer."""

    at_least: int = 2
    most: int = 50
    min_similarity: float = 0.5


def harvest(
    traffic: Sequence[Exchange],
    rows: Sequence[Row],
    corpus: Sequence[Document],
    policy: PrivacyPolicy,
    settings: HarvestSettings,
    embed: Embed | None = None,
) -> HarvestResult:
    """Proposals for what `traffic` asked in vain. `rows`: those of training and evaluation, which are not proposed
    again. Without `embed` likeness is that of words."""
    found = HarvestResult()
    wanted = _wanted(traffic, policy, found)
    if not wanted:
        return found
    questions = [question for question, _ in wanted]
    vectors = embed(questions) if embed else _word_vectors(questions)
    clusters = [cluster for cluster in _clusters(vectors) if len(cluster) >= settings.at_least]
    found.leave_out("asked too seldom", len(wanted) - sum(map(len, clusters)))
    sentences = _sentences(corpus)
    suggest = _SuggestionIndex(sentences, embed, settings.min_similarity)
    drafts = [_draft(cluster, wanted, vectors, suggest) for cluster in clusters]
    known = repeats_across(rows, [draft.row for draft in drafts])
    found.leave_out("in the data already", len(known))
    fresh = [draft for number, draft in enumerate(drafts) if number not in known]
    fresh.sort(key=lambda draft: (-draft.asked, draft.row.id))
    found.leave_out("beyond the most that are proposed", len(fresh[settings.most :]))
    found.proposals = fresh[: settings.most]
    return found


def _wanted(traffic: Sequence[Exchange], policy: PrivacyPolicy, found: HarvestResult) -> list[tuple[str, Exchange]]:
    """Scrubbed questions that were declined or whose answer was scored low."""
    wanted = []
    for exchange in traffic:
        if exchange.blocked or not (exchange.declined or _disliked(exchange)):
            continue
        if not exchange.question:
            found.leave_out("its question is not recorded")
        elif exchange.tenant != "default":
            found.leave_out("of one tenant: the model answers everybody")
        else:
            question = " ".join(privacy.redact(exchange.question, policy).split())
            if next(privacy.findings(question, policy), None):
                found.leave_out("personal data or secret")
            else:
                wanted.append((question, exchange))
    return wanted


def _disliked(exchange: Exchange) -> bool:
    return exchange.feedback is not None and exchange.feedback < RIGHT


def _clusters(vectors: Any) -> list[list[int]]:
    """Positions that belong together, by average linkage of cosine distances."""
    if len(vectors) == 1:
        return [[0]]
    from sklearn.cluster import AgglomerativeClustering

    labels = AgglomerativeClustering(
        n_clusters=None, metric="cosine", linkage="average", distance_threshold=_ALIKE
    ).fit_predict(vectors)
    return [[int(n) for n in np.flatnonzero(labels == label)] for label in np.unique(labels)]


def _word_vectors(texts: Sequence[str]) -> Any:
    """Unit vectors of weighted words; those of a text without a word are not zero, which has no direction."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    made = TfidfVectorizer(analyzer=lambda text: words(text) or [text]).fit_transform(texts)
    return made.toarray()


def _draft(
    cluster: list[int], wanted: Sequence[tuple[str, Exchange]], vectors: Any, suggest: _SuggestionIndex
) -> HarvestProposal:
    """The question nearest to the middle stands for all."""
    middle = vectors[cluster].mean(axis=0)
    chosen = max(cluster, key=lambda n: (float(vectors[n] @ middle), -n))
    question, exchanges = wanted[chosen][0], [wanted[n][1] for n in cluster]
    answer, doc_id, similarity = suggest.best(question)
    row = Row(
        id=f"h-{hashlib.sha256(question.encode('utf-8', 'replace')).hexdigest()[:12]}",
        question=question,
        answers=(answer,) if answer else (),
        doc_ids=(doc_id,) if answer else (),
        tags=(_TAG,) if answer else (_TAG, "unanswerable"),
    )
    return HarvestProposal(
        row,
        asked=len(exchanges),
        declined=sum(exchange.declined for exchange in exchanges),
        disliked=sum(_disliked(exchange) for exchange in exchanges),
        similarity=similarity,
        traces=tuple(exchange.trace_id for exchange in exchanges[:_TRACES]),
    )


def _sentences(corpus: Sequence[Document]) -> list[tuple[str, str]]:
    """(sentence, document id) of what is for everybody."""
    return [
        (sentence.strip(), document.id)
        for document in corpus
        if document.tenant is None
        for sentence in _SENTENCE.split(document.text)
        if len(words(sentence)) > 2
    ]


class _SuggestionIndex:
    """The sentence of the corpus that is nearest to a question."""

    def __init__(self, sentences: Sequence[tuple[str, str]], embed: Embed | None, least: float) -> None:
        self._sentences = sentences
        self._embed = embed
        self._least = least
        self._vectors = embed([text for text, _ in sentences]) if embed and sentences else None
        self._words = [set(words(text)) for text, _ in sentences]

    def best(self, question: str) -> tuple[str, str, float]:
        """(sentence, document id, nearness 0 to 1); empty where none is near enough."""
        if not self._sentences:
            return "", "", 0.0
        if self._embed:
            nearness = self._vectors @ self._embed([question])[0]
        else:
            asked = set(words(question))
            nearness = np.asarray([len(asked & held) / max(1, len(asked)) for held in self._words])
        place = int(np.argmax(nearness))
        if nearness[place] < self._least:
            return "", "", 0.0
        return *self._sentences[place], round(float(nearness[place]), 3)
