"""Proposes rows from traffic: questions that were declined or whose answer was disliked.

They are redacted, clustered by similarity, and proposed as one row for each cluster, with a suggested answer where the
corpus holds one. Runs as `sluice data harvest`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from sluice.core.workspace import Workspace
from sluice.data import privacy
from sluice.data.near_duplicates import repeats_across, words
from sluice.data.privacy import PrivacyPolicy
from sluice.data.rows import Document, Row, load_corpus, load_rows
from sluice.evaluation.comparison_result import RIGHT
from sluice.extras.datakit.proposals import SIDES, Proposal, Proposals
from sluice.extras.datakit.traffic import Exchange, open_embedder

_INTRO = """Questions that users asked in vain, taken together by likeness. The answers are suggestions: sentences of
the corpus that lie near the question, not what the model said."""
_ALIKE = 0.3  # cosine distance up to which questions are taken for the same, on average of a cluster
_NEAR = 0.5  # cosine from which a sentence of the corpus is suggested as the answer
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
_TRACES = 5  # of a cluster, to look at
_Wanted = list[tuple[str, Exchange]]  # with the redacted question


def harvest(
    workspace: Workspace, traffic: Sequence[Exchange], policy: PrivacyPolicy, *, at_least: int, most: int
) -> Proposals:
    """Return proposals for what `traffic` asked in vain and no row of data/ asks: `most`, those that were asked most.

    A cluster needs `at_least` exchanges, so that no single user is put on show.
    """
    found = Proposals("harvest", "Rows that users' questions propose", _INTRO)
    wanted = _wanted(traffic, policy, found)
    if not wanted:
        return found
    rows = [row for side in SIDES for row in load_rows(workspace.data / f"{side}.jsonl")]
    sentences = _sentences(load_corpus(workspace.data / "corpus"))
    with open_embedder(workspace) as embed:
        vectors = embed([question for question, _ in wanted])
        nearness = vectors @ embed([text for text, _ in sentences]).T if sentences else None
    clusters = [cluster for cluster in _clusters(vectors) if len(cluster) >= at_least]
    found.leave_out("asked too seldom", len(wanted) - sum(map(len, clusters)))
    clusters.sort(key=len, reverse=True)
    drafts = [_proposal(cluster, wanted, vectors, sentences, nearness) for cluster in clusters]
    known = repeats_across(rows, [draft.row for draft in drafts])
    found.leave_out("in the data already", len(known))
    fresh = [draft for number, draft in enumerate(drafts) if number not in known]
    found.leave_out("beyond the most that are proposed", len(fresh[most:]))
    found.proposals = fresh[:most]
    return found


def _wanted(traffic: Sequence[Exchange], policy: PrivacyPolicy, found: Proposals) -> _Wanted:
    """Redacted questions that were declined or whose answer was scored low."""
    wanted = []
    for exchange in traffic:
        if exchange.blocked or not (exchange.declined or _disliked(exchange)):
            continue
        question = " ".join(privacy.redact(exchange.question, policy).split())
        if not question:
            found.leave_out("its question is not recorded")
        elif exchange.tenant != "default":
            found.leave_out("of one tenant: the model answers everybody")
        elif next(privacy.findings(question, policy), None):
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


def _sentences(corpus: Sequence[Document]) -> list[tuple[str, str]]:
    """(sentence, document id) of what is for everybody."""
    return [
        (sentence.strip(), document.id)
        for document in corpus
        if document.tenant is None
        for sentence in _SENTENCE.split(document.text)
        if len(words(sentence)) > 2
    ]


def _proposal(
    cluster: list[int], wanted: _Wanted, vectors: Any, sentences: Sequence[tuple[str, str]], nearness: Any
) -> Proposal:
    """The question nearest to the middle stands for all, the sentence nearest to it is suggested."""
    middle = vectors[cluster].mean(axis=0)
    chosen = max(cluster, key=lambda n: (float(vectors[n] @ middle), -n))
    question, exchanges = wanted[chosen][0], [wanted[n][1] for n in cluster]
    near, answer, doc_id = 0.0, "", ""
    if nearness is not None:
        best = int(np.argmax(nearness[chosen]))
        near = float(nearness[chosen, best])
        answer, doc_id = sentences[best] if near >= _NEAR else ("", "")
    row = Row(
        id=f"h-{hashlib.sha256(question.encode('utf-8', 'replace')).hexdigest()[:12]}",
        question=question,
        answers=(answer,) if answer else (),
        doc_ids=(doc_id,) if answer else (),
        tags=("harvested",) if answer else ("harvested", "unanswerable"),
    )
    facts: dict[str, object] = {"asked": len(exchanges), "declined": sum(one.declined for one in exchanges)}
    facts |= {"disliked": sum(map(_disliked, exchanges)), "nearness": f"{near:.2f}"}
    return Proposal(row, facts, "traces " + ", ".join(exchange.trace_id for exchange in exchanges[:_TRACES]))
