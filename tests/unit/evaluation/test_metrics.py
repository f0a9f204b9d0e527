"""Each metric as a table: what the row expects, what the application did, the score (None: the row does not count)."""

from __future__ import annotations

import pytest

from sluice.evaluation.metrics import METRICS
from sluice.evaluation.metrics.citation_correctness import CitationCorrectness
from sluice.evaluation.metrics.contains_answer import ContainsAnswer
from sluice.evaluation.metrics.decline_accuracy import DeclineAccuracy
from sluice.evaluation.metrics.exact_match import ExactMatch
from sluice.evaluation.metrics.f1 import F1, token_f1
from sluice.evaluation.metrics.latency import Latency
from sluice.evaluation.metrics.mrr import ReciprocalRank
from sluice.evaluation.metrics.recall_at_5 import RecallAt5
from sluice.evaluation.metrics.tokens import Tokens
from sluice.evaluation.metrics.ttft import TimeToFirstToken


@pytest.mark.parametrize(
    ("answers", "text", "score"),
    [
        (("64 tokens",), "The 64 Tokens.", 1.0),
        (("64 tokens", "sixty-four"), "Sixty-four!", 1.0),
        (("64 tokens",), "64 tokens long", 0.0),
        (("64 tokens",), "", 0.0),
        ((), "anything", None),
    ],
)
def test_exact_match(row, output, answers, text, score) -> None:
    assert ExactMatch().score(row(*answers), output(text)) == score


@pytest.mark.parametrize(
    ("answers", "text", "score"),
    [
        (("64 tokens",), "64 tokens", 1.0),
        (("64 tokens",), "exactly 64 tokens", 0.8),  # precision 2/3, recall 1
        (("a b c d",), "b", pytest.approx(2 / 4)),  # `a` is an article: one of three words, all right
        (("64 tokens", "64"), "64", 1.0),
        (("64",), "64 64", pytest.approx(2 / 3)),  # a repeated word counts once
        (("64",), "none", 0.0),
        (("64",), "", 0.0),
        ((), "64", None),
    ],
)
def test_f1(row, output, answers, text, score) -> None:
    assert F1().score(row(*answers), output(text)) == score


def test_token_f1_is_symmetric() -> None:
    assert token_f1("one two three", "two three four five") == token_f1("two three four five", "one two three")


@pytest.mark.parametrize(
    ("answers", "text", "score"),
    [
        (("64 tokens",), "They share 64 tokens, always.", 1.0),
        (("4 tokens",), "64 tokens", 0.0),  # whole words only
        (("no", "64"), "it is 64", 1.0),
        (("64 tokens",), "", 0.0),
        ((), "64", None),
    ],
)
def test_contains_answer(row, output, answers, text, score) -> None:
    assert ContainsAnswer().score(row(*answers), output(text)) == score


@pytest.mark.parametrize(
    ("answers", "declined", "score"), [((), True, 1.0), ((), False, 0.0), (("x",), True, None), (("x",), False, None)]
)
def test_decline_accuracy(row, output, answers, declined, score) -> None:
    assert DeclineAccuracy().score(row(*answers), output(declined=declined)) == score


@pytest.mark.parametrize(
    ("docs", "retrieved", "recall", "rank"),
    [
        (("a",), ("a", "b"), 1.0, 1.0),
        (("a",), ("b", "c", "a"), 1.0, 1 / 3),
        (("a",), ("b", "c", "d", "e", "f", "a"), 0.0, 1 / 6),
        (("a", "b"), ("b", "b", "b"), 0.5, 1.0),
        (("a", "a"), ("a",), 1.0, 1.0),
        (("a",), (), 0.0, 0.0),
        ((), ("a",), None, None),
    ],
)
def test_recall_and_reciprocal_rank(row, output, docs, retrieved, recall, rank) -> None:
    asked, answered = row("x", docs=docs), output(retrieved=retrieved)
    assert RecallAt5().score(asked, answered) == recall
    assert ReciprocalRank().score(asked, answered) == rank


@pytest.mark.parametrize(
    ("docs", "declined", "citations", "score"),
    [
        (("a",), False, ("a",), 1.0),
        (("a",), False, ("a", "b"), 0.5),
        (("a",), False, ("b",), 0.0),
        (("a",), False, (), 0.0),
        (("a",), True, (), None),
        ((), False, ("a",), None),
    ],
)
def test_citation_correctness(row, output, docs, declined, citations, score) -> None:
    assert CitationCorrectness().score(row("x", docs=docs), output(declined=declined, citations=citations)) == score


def test_latency_counts_every_case(row, output) -> None:
    for percentile in ("p50", "p95"):
        metric = Latency(percentile)
        assert (metric.name, metric.aggregate) == (f"latency_{percentile}_ms", percentile)
        assert metric.score(row(), output(latency_ms=3.0)) == 3.0


def test_cases_that_did_not_reach_the_model_have_no_tokens(row, output) -> None:
    assert TimeToFirstToken().score(row(), output(ttft_ms=None)) is None
    assert TimeToFirstToken().score(row(), output(ttft_ms=5.0)) == 5.0
    assert Tokens().score(row(), output(prompt_tokens=0, completion_tokens=0)) is None
    assert Tokens().score(row(), output(prompt_tokens=7, completion_tokens=3)) == 10.0


def test_names_are_unique_and_directions_stated() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    assert {metric.direction for metric in METRICS} == {"higher", "lower"}
