"""Each metric as a table: what the row expects, what the application did, the score (None: the row does not count)."""

from __future__ import annotations

import asyncio
import math
import sys
from pathlib import Path
from typing import get_args

import pytest

from assistant.metrics.answers import ANSWER_WORDS
from sluice.core.errors import SluiceError
from sluice.core.extras import HERE, packages
from sluice.evaluation import metrics
from sluice.evaluation.answer_text import token_f1
from sluice.evaluation.metric_batching import MetricBatcher
from sluice.evaluation.metrics.answer_key import answer_key
from sluice.evaluation.metrics.citation_correctness import citation_correctness
from sluice.evaluation.metrics.contains import contains
from sluice.evaluation.metrics.contains_answer import contains_answer
from sluice.evaluation.metrics.decline_accuracy import decline_accuracy
from sluice.evaluation.metrics.exact_match import exact_match
from sluice.evaluation.metrics.f1 import f1
from sluice.evaluation.metrics.false_declines import false_declines
from sluice.evaluation.metrics.json_schema import json_schema
from sluice.evaluation.metrics.not_contains import not_contains
from sluice.evaluation.metrics.ranking import mrr, ndcg_at_5, recall_at_5
from sluice.evaluation.metrics.regex import regex
from sluice.evaluation.metrics.request import cost_usd, latency_p50_ms, latency_p95_ms, tokens, ttft_p50_ms
from sluice.evaluation.output import Aggregate, Assertion, Metric
from sluice.evaluation.registry import METRICS, MetricResources, make_metrics, metric
from sluice.evaluation.scoring import run_metrics


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
    assert exact_match.score(row(*answers), output(text)) == score


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
    assert f1.score(row(*answers), output(text)) == score


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
    assert contains_answer.score(row(*answers), output(text)) == score


@pytest.mark.parametrize(
    ("answers", "key", "text", "score"),
    [
        (("64 tokens",), (), "They share 64 tokens, always.", 1.0),  # without a key one of the answers
        (("4 tokens",), (), "64 tokens", 0.0),  # a number is no part of another
        (("no", "64"), (), "it is 64", 1.0),
        (("64 tokens",), (), "", 0.0),
        ((), (), "64", 0.0),
        ((), (), "declined", 1.0),
        (("64 tokens",), (), "declined", 0.0),
        (("x",), (("roll back", "rollback"), ("5 %", "5 percent")), "A Roll‑back at  5 %.", 1.0),
        (("x",), (("roll back", "rollback"), ("5 %", "5 percent")), "A rollback at 15 %.", 0.0),
        (("x",), (("roll back", "rollback"), ("5 %", "5 percent")), "At 5 percent.", 0.0),  # each fact
        (("x",), (("don't",),), "We don’t.", 1.0),
    ],
)
def test_answer_key(row, output, answers, key, text, score) -> None:
    asked = row(*answers, **({"expect": {"answer_key": key}} if key else {}))
    assert answer_key.score(asked, output("No.", declined=True) if text == "declined" else output(text)) == score


@pytest.mark.parametrize(
    ("answers", "declined", "score"), [((), True, 1.0), ((), False, 0.0), (("x",), True, None), (("x",), False, None)]
)
def test_decline_accuracy(row, output, answers, declined, score) -> None:
    assert decline_accuracy.score(row(*answers), output(declined=declined)) == score


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
    assert recall_at_5.score(asked, answered) == recall
    assert mrr.score(asked, answered) == rank


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
    assert citation_correctness.score(row("x", docs=docs), output(declined=declined, citations=citations)) == score


def test_latency_counts_every_case(row, output) -> None:
    for percentile, latency in (("p50", latency_p50_ms), ("p95", latency_p95_ms)):
        assert (latency.name, latency.aggregate) == (f"latency_{percentile}_ms", percentile)
        assert latency.score(row(), output(latency_ms=3.0)) == 3.0


def test_cases_that_did_not_reach_the_model_have_no_tokens(row, output) -> None:
    assert ttft_p50_ms.score(row(), output(ttft_ms=None)) is None
    assert ttft_p50_ms.score(row(), output(ttft_ms=5.0)) == 5.0
    assert tokens.score(row(), output(prompt_tokens=0, completion_tokens=0)) is None
    assert tokens.score(row(), output(prompt_tokens=7, completion_tokens=3)) == 10.0


@pytest.mark.parametrize(
    ("answers", "declined", "score"), [(("x",), True, 1.0), (("x",), False, 0.0), ((), True, None)]
)
def test_false_declines(row, output, answers, declined, score) -> None:
    assert false_declines.score(row(*answers), output(declined=declined)) == score


SECOND, THIRD = 1 / math.log2(3), 1 / math.log2(4)


@pytest.mark.parametrize(
    ("docs", "retrieved", "score"),
    [
        (("a",), ("a", "b"), 1.0),
        (("a",), ("b", "a"), SECOND),
        (("a",), ("b", "c", "d", "e", "f", "a"), 0.0),  # the sixth is not among the five best
        (("a", "b"), ("b", "a"), 1.0),  # their order among themselves does not matter
        (("a", "b"), ("a", "a", "b"), (1 + THIRD) / (1 + SECOND)),  # another chunk of a document adds nothing
        (("a", "b"), ("c", "a"), SECOND / (1 + SECOND)),
        (("a", "a"), ("a",), 1.0),
        (tuple("abcdefg"), tuple("abcde"), 1.0),  # more right documents than places
        (("a",), (), 0.0),
        ((), ("a",), None),
    ],
)
def test_ndcg(row, output, docs, retrieved, score) -> None:
    found = ndcg_at_5.score(row("x", docs=docs), output(retrieved=retrieved))
    assert found == (None if score is None else pytest.approx(score))


@pytest.mark.parametrize(
    ("expect", "text", "passed", "reason"),
    [
        ({"contains": ["64 Tokens"]}, "They share  64\ntokens.", True, ""),
        ({"contains": ["64", "tokens", "chunk"]}, "64 words", False, "not in the answer: 'tokens', 'chunk'"),
        ({"contains": ["ÉTÉ"]}, "e\u0301te\u0301", True, ""),  # composed and decomposed letters are equal
        ({"contains": ["STRASSE"]}, "Straße", True, ""),
        ({"contains": ["64"]}, "", False, "not in the answer: '64'"),
        ({"regex": "x"}, "64", None, ""),
        (None, "64", None, ""),
    ],
)
def test_contains(row, output, expect, text, passed, reason) -> None:
    found = contains.score(row("x", expect=expect), output(text))
    assert found == (None if passed is None else Assertion(passed, reason))


@pytest.mark.parametrize(
    ("expect", "text", "passed", "reason"),
    [
        ({"not_contains": ["as an AI"]}, "64 tokens", True, ""),
        ({"not_contains": ["as an ai", "sorry"]}, "As an AI I am SORRY.", False, "in the answer: 'as an ai', 'sorry'"),
        ({"not_contains": ["64"]}, "", True, ""),
        ({"contains": ["64"]}, "64", None, ""),
        (None, "64", None, ""),
    ],
)
def test_not_contains(row, output, expect, text, passed, reason) -> None:
    found = not_contains.score(row("x", expect=expect), output(text))
    assert found == (None if passed is None else Assertion(passed, reason))


@pytest.mark.parametrize(
    ("pattern", "text", "passed"),
    [
        (r"\b\d+ tokens\b", "They share 64 tokens.", True),
        (r"\A\d+\Z", "64 tokens", False),
        (r"(?i)canary", "A CANARY", True),
        (r"\p{Lu}", "été", False),
        ("x", "", False),
    ],
)
def test_regex(row, output, pattern, text, passed) -> None:
    reason = "" if passed else f"no match of {pattern!r}"
    assert regex.score(row("x", expect={"regex": pattern}), output(text)) == Assertion(passed, reason)
    assert regex.score(row("x"), output(text)) is None


def test_a_regex_that_would_take_for_ever_is_an_error_of_the_metric(row, output) -> None:
    case = row("x", expect={"regex": r"(a|aa)+$"})
    found = asyncio.run(run_metrics(case, output("a" * 60 + "b"), [regex]))
    assert found["assertions"] == {}
    assert found["errors"]["regex"].startswith("TimeoutError")


SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}


@pytest.mark.parametrize(
    ("schema", "text", "passed", "reason"),
    [
        (SCHEMA, ' {"n": 64}\n', True, ""),
        (SCHEMA, '{"n": "64"}', False, "$.n: '64' is not of type 'integer'"),
        (SCHEMA, "{}", False, "$: 'n' is a required property"),
        (SCHEMA, "64 tokens", False, "not JSON: Extra data: line 1 column 4 (char 3)"),
        (SCHEMA, "", False, "not JSON: Expecting value: line 1 column 1 (char 0)"),
        (SCHEMA, '```json\n{"n": 64}\n```', False, "not JSON: Expecting value: line 1 column 1 (char 0)"),
        ({"type": "number"}, "NaN", False, "not JSON: NaN is no JSON"),
        ({"const": None}, "null", True, ""),
        ({"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": "string"}]}, "[1]", False, None),
    ],
)
def test_json_schema(row, output, schema, text, passed, reason) -> None:
    found = json_schema.score(row("x", expect={"json_schema": schema}), output(text))
    assert found.passed == passed
    assert found.reason == reason or reason is None
    assert json_schema.score(row("x"), output(text)) is None


def test_a_json_schema_fetches_nothing(row, output) -> None:
    """The network is closed in unit tests, and a try to reach it fails them."""
    case = row("x", expect={"json_schema": {"$ref": "https://example.org/other.json"}})
    found = asyncio.run(run_metrics(case, output("{}"), [json_schema]))
    assert "Unresolvable" in found["errors"]["json_schema"]


@pytest.mark.parametrize(
    ("text", "declined", "score"),
    [
        ("64 tokens", False, 2.0),
        ("", False, 0.0),
        ("It's 3.5 %!", False, 4.0),
        ("每天两次", False, 4.0),
        ("No.", True, None),
    ],
)
def test_answer_words(row, output, text, declined, score) -> None:
    assert ANSWER_WORDS.score(row(), output(text, declined=declined)) == score


def test_cost_counts_where_it_is_known(row, output) -> None:
    assert cost_usd.score(row(), output(cost=0.0)) == 0.0
    assert cost_usd.score(row(), output(cost=0.00125)) == 0.00125
    assert cost_usd.score(row(), output()) is None


def test_every_metric_says_what_it_is() -> None:
    every = make_metrics(MetricResources(MetricBatcher(list)))
    assert len({one.name for one in every}) == len(every)
    for one in every:
        assert one.version
        assert one.unit
        assert one.direction in ((None,) if one.aggregate == "counts" else ("higher", "lower")), one.name
        assert one.aggregate in get_args(Aggregate), one.name
        assert len(sys.modules[one.__module__].__doc__) > 40, one.name


def test_every_file_of_a_metric_is_in_the_registry() -> None:
    folders = {metrics.__name__: Path(metrics.__file__).parent}
    folders |= {package: HERE.joinpath(*package.split(".")[2:]) for package in packages("metrics")}
    files = {f"{package}.{path.stem}" for package, folder in folders.items() for path in folder.glob("[!_]*.py")}
    assert files <= {made.__module__ for made in METRICS.values()}


@pytest.mark.parametrize(
    ("says", "fault"),
    [
        ({"unit": ""}, "has no unit"),
        ({"what": "", "name": ""}, "has no name and what"),
        ({"aggregate": "median"}, "aggregate: 'median'"),
        ({"direction": "up"}, "direction: 'up'"),
        ({"direction": None}, "have no direction"),
        ({"name": "f1"}, "already defined in sluice.evaluation.metrics.f1"),
        ({"name": "My metric"}, "is not a valid name for a metric"),
    ],
)
def test_a_metric_that_does_not_say_what_it_is_is_refused(says: dict[str, object], fault: str) -> None:
    METRICS["f1"]
    known = {"name": "mine", "what": "something", "unit": "share"}
    with pytest.raises(SluiceError, match=fault):
        metric(type("Mine", (Metric,), known | says))
    assert "mine" not in METRICS
