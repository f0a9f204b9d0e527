"""Drift of live traffic from the evaluation set: questions, search results and answers.

Each distribution of the traffic is compared with that of the evaluation set by a test and a size
(extras/curation/distribution_shift.py); the numbers that decide are under `drift:` in config/gates.yaml. Distributions
that cannot be compared are reported.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sluice.core.errors import GateFailed
from sluice.data.near_duplicates import words
from sluice.data.rows import Row
from sluice.evaluation.case_changes import RIGHT
from sluice.evaluation.paired_cases import scores_of
from sluice.extras.curation.distribution_shift import DistributionShift, ShiftPolicy, of_categories, of_numbers
from sluice.extras.traffic.recorded_exchange import Exchange

Embed = Callable[[Sequence[str]], Any]

NO_QUESTIONS = "questions are not recorded: `traces.contents` in config/telemetry.yaml is off"
NO_SCORES = "retrieval scores of the evaluation set need build/index and the embedder: `sluice index build`"
NO_CASES = "declines and right answers of the evaluation set need build/evaluation/cases.jsonl: `sluice evaluate`"


@dataclass(frozen=True)
class TrafficBaseline:
    """The evaluation set. `similarities`: of its questions to their nearest passages; `cases`: its last results, as in
    cases.jsonl; both empty where there are none."""

    rows: Sequence[Row]
    similarities: Sequence[float] = ()
    cases: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class DriftReport:
    """`notes`: what could not be compared, and why."""

    exchanges: int
    shifts: tuple[DistributionShift, ...]
    notes: tuple[str, ...] = field(default=())

    def shifted(self, policy: ShiftPolicy) -> list[str]:
        return [shift.name for shift in self.shifts if shift.verdict(policy) == "shifted"]

    def as_dict(self, policy: ShiftPolicy) -> dict[str, Any]:
        """JSON-able."""
        return {
            "exchanges": self.exchanges,
            "shifted": self.shifted(policy),
            "shifts": [shift.as_dict(policy) for shift in self.shifts],
            "notes": list(self.notes),
        }

    def require(self, policy: ShiftPolicy) -> None:
        """Raises GateFailed when something has shifted."""
        if shifted := self.shifted(policy):
            raise GateFailed(
                f"the traffic is not what the evaluation set asks any more: {', '.join(shifted)}",
                remedy="look at the report; `sluice data harvest` proposes rows for what is asked now",
            )


def compare(baseline: TrafficBaseline, traffic: Sequence[Exchange], embed: Embed | None = None) -> DriftReport:
    """The drift of what was answered. `embed`: texts to unit vectors, where there is an embedder."""
    shifts: list[DistributionShift | None] = []
    notes: list[str] = []
    asked = [exchange.question for exchange in traffic if exchange.question]
    if asked:
        shifts += _questions(baseline.rows, asked, embed)
    else:
        notes.append(NO_QUESTIONS)
    found = [exchange.similarity for exchange in traffic if exchange.similarity is not None]
    if baseline.similarities:
        shifts.append(of_numbers("similarity of the nearest passage", baseline.similarities, found))
    else:
        notes.append(NO_SCORES)
    if baseline.cases:
        shifts += _outcomes(baseline.cases, traffic)
    else:
        notes.append(NO_CASES)
    return DriftReport(len(traffic), tuple(filter(None, shifts)), tuple(notes))


def _questions(rows: Sequence[Row], live: Sequence[str], embed: Embed | None) -> Iterator[DistributionShift | None]:
    sides = [row.question for row in rows], live
    yield of_numbers("words of a question", *([len(words(text)) for text in side] for side in sides))
    yield of_categories("topics of the questions", *(topics(side) for side in sides))
    if embed:
        own, vectors = embed(sides[0]), embed(live)
        near = [float(value) for value in (vectors @ own.T).max(axis=1)]
        # Nearer than evaluation questions are to each other is what the evaluation set is there for.
        yield of_numbers("nearness to an evaluation question", _nearest_other(rows, own), near, higher_is_fine=True)


def topics(questions: Sequence[str]) -> Counter[str]:
    """In how many questions each word and each pair of neighbours stands; English words without a subject are left
    out. scikit-learn is imported inside, it takes a second."""
    from sklearn.feature_extraction.text import CountVectorizer

    analyse = CountVectorizer(ngram_range=(1, 2), stop_words="english").build_analyzer()
    return Counter(term for question in questions for term in set(analyse(question)))


def _nearest_other(rows: Sequence[Row], vectors: Any) -> list[float]:
    """Cosine of each question to the nearest one that is not about the same document: those were asked together."""
    cosines = vectors @ vectors.T
    for place, row in enumerate(rows):
        same = [other == place or bool(set(row.doc_ids) & set(rows[other].doc_ids)) for other in range(len(rows))]
        cosines[place, same] = -1.0
    return [float(value) for value in cosines.max(axis=1)]


def _outcomes(cases: Sequence[Mapping[str, Any]], traffic: Sequence[Exchange]) -> Iterator[DistributionShift | None]:
    answered = [case for case in cases if case.get("status", "answered") == "answered"]
    yield of_categories(
        "declined",
        Counter(_said(bool(case["declined"])) for case in answered),
        Counter(_said(exchange.declined) for exchange in traffic if not exchange.blocked),
    )
    right = [_good(score >= RIGHT) for case in answered if (score := scores_of(case).get("f1")) is not None]
    liked = [_good(exchange.feedback >= RIGHT) for exchange in traffic if exchange.feedback is not None]
    yield of_categories("good answers, by F1 and by feedback", Counter(right), Counter(liked))


def _said(declined: bool) -> str:
    return "declined" if declined else "answered"


def _good(good: bool) -> str:
    return "good" if good else "bad"
