"""The metrics as tables; a score of None means that the row doesn't count."""

import asyncio
import math
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sluice.core.errors import SluiceError
from sluice.evaluation import evaluate_stage
from sluice.evaluation.evaluate_stage import open_metrics
from sluice.evaluation.metrics import (
    AnswerSimilarity,
    answer_key,
    citation_correctness,
    contains,
    contains_answer,
    cost_usd,
    decline_accuracy,
    exact_match,
    f1,
    false_declines,
    json_schema,
    latency_p50_ms,
    latency_p95_ms,
    mrr,
    ndcg_at_5,
    not_contains,
    recall_at_5,
    regex,
    repetition,
    tokens,
    ttft_p50_ms,
)
from sluice.evaluation.registry import METRICS, Assertion, Metric, MetricBatcher
from sluice.evaluation.runner import run_metrics
from sluice.extend import Output, Row, metric
from sluice.llm.settings import Providers
from support.serving.fakes import provider_entry, scripted_bundle


@pytest.mark.parametrize(
    ("judge", "answers", "text", "score"),
    [
        (exact_match, ("64 tokens",), "The 64 Tokens.", 1.0),
        (exact_match, ("64 tokens",), "64 tokens long", 0.0),
        (exact_match, ("été",), "ÉTÉ", 1.0),
        (exact_match, (), "anything", None),
        (f1, ("64 tokens",), "exactly 64 tokens", 0.8),  # precision 2/3, recall 1
        (f1, ("a b c d",), "b", pytest.approx(2 / 4)),  # `a` is an article: one of three words, all right
        (f1, ("64 tokens", "64"), "64", 1.0),
        (f1, ("64",), "64 64", pytest.approx(2 / 3)),  # a repeated word counts once
        (f1, ("64",), "", 0.0),
        (f1, (), "64", None),
        (contains_answer, ("another theme",), "It is another theme.", 1.0),  # articles only as whole words
        (contains_answer, ("4 tokens",), "64 tokens", 0.0),  # whole words only
        (contains_answer, (), "64", None),
        (decline_accuracy, (), "declined", 1.0),
        (decline_accuracy, (), "64", 0.0),
        (decline_accuracy, ("x",), "declined", None),
        (false_declines, ("x",), "declined", 1.0),
        (false_declines, ("x",), "64", 0.0),
        (false_declines, (), "declined", None),
        (answer_key, ("64 tokens",), "They share 64 tokens, always.", 1.0),  # without a key one of the answers
        (answer_key, ("4 tokens",), "64 tokens", 0.0),  # a number is no part of another
        (answer_key, (), "64", 0.0),
        (repetition, ("x",), "Call round(round(round(round(round(", pytest.approx(1 / 3)),  # of three runs two are one
        (repetition, (), "一二三四一二三四", pytest.approx(1 / 5)),  # scripts without spaces by character
        (repetition, ("x",), "64 tokens", 0.0),
        (repetition, ("x",), "declined", None),
        (answer_key, (), "declined", 1.0),
        (answer_key, ("64 tokens",), "declined", 0.0),
    ],
)
def test_metrics_of_answers_and_declines(row, output, judge, answers, text, score) -> None:
    declined = text == "declined"
    assert judge.score(row(*answers), output("No." if declined else text, declined=declined)) == score


def test_an_answer_key_of_several_facts(row, output) -> None:
    asked = row("x", expect={"answer_key": (("roll back", "rollback"), ("5 %", "5 percent"))})
    answers = ("A Roll‑back at  5 %.", "A rollback at 15 %.", "At 5 percent.")  # each fact must be there
    assert [answer_key.score(asked, output(text)) for text in answers] == [1.0, 0.0, 0.0]


SECOND, THIRD = 1 / math.log2(3), 1 / math.log2(4)


@pytest.mark.parametrize(
    ("docs", "retrieved", "recall", "rank", "gain"),
    [
        (("a",), ("b", "a"), 1.0, 1 / 2, SECOND),
        (("a",), ("b", "c", "d", "e", "f", "a"), 0.0, 1 / 6, 0.0),  # the sixth is not among the five best
        (("a", "b"), ("b", "a"), 1.0, 1.0, 1.0),  # their order among themselves does not matter
        (("a", "b"), ("a", "a", "b"), 1.0, 1.0, (1 + THIRD) / (1 + SECOND)),  # another chunk of a document adds nothing
        (tuple("abcdefg"), tuple("abcde"), 5 / 7, 1.0, 1.0),  # more right documents than places
        (("a",), (), 0.0, 0.0, 0.0),
        ((), ("a",), None, None, None),
    ],
)
def test_metrics_of_what_was_found(row, output, docs, retrieved, recall, rank, gain) -> None:
    asked, answered = row("x", docs=docs), output(retrieved=retrieved)
    assert (recall_at_5.score(asked, answered), mrr.score(asked, answered)) == (recall, rank)
    assert ndcg_at_5.score(asked, answered) == (None if gain is None else pytest.approx(gain))


def test_citation_correctness(row, output) -> None:
    asked = row("x", docs=("a",))
    assert citation_correctness.score(asked, output(citations=("a", "b"))) == 0.5
    assert citation_correctness.score(asked, output()) == 0.0
    assert citation_correctness.score(asked, output(declined=True)) is None
    assert citation_correctness.score(row("x", docs=()), output(citations=("a",))) is None


def test_times_tokens_and_cost_count_where_they_are_known(row, output) -> None:
    for percentile, latency in (("p50", latency_p50_ms), ("p95", latency_p95_ms)):
        assert (latency.name, latency.aggregate) == (f"latency_{percentile}_ms", percentile)
        assert latency.score(row(), output(latency_ms=3.0)) == 3.0
    known = output(ttft_ms=5.0, prompt_tokens=7, completion_tokens=3, cost=0.00125)
    unknown = output(ttft_ms=None, prompt_tokens=0, completion_tokens=0)
    for judge, value in ((ttft_p50_ms, 5.0), (tokens, 10.0), (cost_usd, 0.00125)):
        assert (judge.score(row(), known), judge.score(row(), unknown)) == (value, None)


@pytest.mark.parametrize(
    ("judge", "expect", "text", "passed", "reason"),
    [
        (contains, {"contains": ["64 Tokens"]}, "They share  64\ntokens.", True, ""),
        (contains, {"contains": ["64", "tokens", "chunk"]}, "64 words", False, "not in the answer: 'tokens', 'chunk'"),
        (contains, {"contains": ["ÉTÉ"]}, "e\u0301te\u0301", True, ""),  # composed and decomposed letters are equal
        (contains, None, "64", None, ""),
        (not_contains, {"not_contains": ["as an AI"]}, "64 tokens", True, ""),
        (not_contains, {"not_contains": ["as an ai"]}, "As an AI I am SORRY.", False, "in the answer: 'as an ai'"),
        (not_contains, None, "64", None, ""),
        (regex, {"regex": r"\b\d+ tokens\b"}, "They share 64 tokens.", True, ""),
        (regex, {"regex": r"\p{Lu}"}, "été", False, "no match of '\\\\p{Lu}'"),
        (regex, None, "64", None, ""),
    ],
)
def test_what_a_row_asks_for(row, output, judge, expect, text, passed, reason) -> None:
    found = judge.score(row("x", expect=expect), output(text))
    assert found == (None if passed is None else Assertion(passed, reason))


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
        (SCHEMA, '```json\n{"n": 64}\n```', False, "not JSON: Expecting value: line 1 column 1 (char 0)"),
        ({"type": "number"}, "NaN", False, "not JSON: NaN is no JSON"),
        ({"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": "string"}]}, "[1]", False, None),
    ],
)
def test_json_schema(row, output, schema, text, passed, reason) -> None:
    found = json_schema.score(row("x", expect={"json_schema": schema}), output(text))
    assert found.passed == passed
    assert found.reason == reason or reason is None
    assert json_schema.score(row("x"), output(text)) is None


def test_a_json_schema_fetches_nothing(row, output) -> None:
    case = row("x", expect={"json_schema": {"$ref": "https://example.org/other.json"}})
    found = asyncio.run(run_metrics(case, output("{}"), [json_schema]))
    assert "Unresolvable" in found["errors"]["json_schema"]


@pytest.mark.parametrize(
    ("says", "fault"),
    [
        ({"unit": ""}, "has no unit"),
        ({"aggregate": "median"}, "aggregate: 'median'"),
        ({"direction": None}, "have no direction"),
        ({"name": "f1"}, "already defined in sluice.evaluation.metrics"),
    ],
)
def test_a_metric_that_does_not_say_what_it_is_is_refused(says: dict[str, object], fault: str) -> None:
    METRICS["f1"]
    known = {"name": "mine", "what": "something", "unit": "share"}
    with pytest.raises(SluiceError, match=fault):
        metric(type("Mine", (Metric,), known | says))
    assert "mine" not in METRICS


def test_a_function_is_a_metric_with_what_its_decorator_says(row, output, monkeypatch: pytest.MonkeyPatch) -> None:
    list(METRICS)
    monkeypatch.setattr(METRICS, "entries", dict(METRICS.entries))
    monkeypatch.setattr(METRICS, "_modules", dict(METRICS._modules))

    @metric(what="signs of the answer", unit="signs", direction="lower", version="2")
    def signs(row: Row, output: Output) -> float:  # noqa: ARG001
        return float(len(output.text))

    assert METRICS["signs"] is signs
    assert (signs.name, signs.unit, signs.direction, signs.aggregate) == ("signs", "signs", "lower", "mean")
    assert signs.version == "2"
    found = asyncio.run(run_metrics(row(), output("four"), [signs]))
    assert found["scores"] == {"signs": 4.0}
    with pytest.raises(SluiceError, match="a metric has no 'units'"):
        metric(what="x", units="signs")(lambda _row, _output: None)
    with pytest.raises(SluiceError, match="has no unit"):
        metric(what="x", name="y")(lambda _row, _output: None)


def test_an_error_of_a_batch_reaches_all_who_wait_and_the_next_try_is_a_new_call() -> None:
    calls: list[list[str]] = []

    def compute(texts: list[str]) -> list[int]:
        calls.append(texts)
        if len(calls) == 1:
            raise MemoryError("too long")
        return [len(text) for text in texts]

    batched = MetricBatcher(compute)

    async def ask() -> list[object]:
        return await asyncio.gather(batched.of(["a"]), batched.of(["bb"]), return_exceptions=True)

    assert [str(error) for error in asyncio.run(ask())] == ["too long", "too long"]
    assert asyncio.run(batched.of(["a"])) == [1]
    assert calls == [["a", "bb"], ["a"]]


def score(metrics: Any, *pairs: Any) -> list[dict[str, Any]]:
    async def all_of_them() -> list[dict[str, Any]]:
        return await asyncio.gather(*(run_metrics(row, output, metrics) for row, output in pairs))

    return asyncio.run(all_of_them())


def test_a_judge_that_nothing_here_can_ask_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = scripted_bundle()
    providers = Providers.model_validate(bundle.providers.model_dump() | {"judge": [provider_entry()]})
    monkeypatch.setattr(evaluate_stage, "hooks", lambda _: {})
    refused = pytest.raises(SluiceError, match="left out the extra `calibration`")
    with refused as error, open_metrics(replace(bundle, providers=providers)):
        pass
    assert "empty `judge` in config/providers.yaml" in error.value.remedy


def test_all_cases_are_embedded_in_one_call_and_it_is_closed(monkeypatch, row, output) -> None:
    happened = []

    class Embedder(AbstractContextManager):
        def __init__(self, model: Path) -> None:
            happened.append(f"open {model}")

        def embed(self, texts: list[str]) -> np.ndarray:
            happened.append(f"embed {len(texts)}")
            return np.tile(np.array([[0.6, 0.8]]), (len(texts), 1))

        def __exit__(self, *_: object) -> None:
            happened.append("close")

    monkeypatch.setattr(evaluate_stage, "Embedder", Embedder)
    pairs = [(row(f"expected {number}"), output(f"found {number}")) for number in range(50)]
    with open_metrics(scripted_bundle()) as metrics:
        found = score([metric for metric in metrics if metric.name == "answer_similarity"], *pairs)
    assert [case["scores"]["answer_similarity"] for case in found] == [pytest.approx(1.0)] * 50
    assert happened == ["open embedder.gguf", "embed 100", "close"]


ANGLES = {"right": 0.0, "near": np.pi / 3, "far": np.pi / 2}


@pytest.mark.parametrize(
    ("answers", "text", "declined", "similarity"),
    [
        (("right",), "near", False, 0.5),
        (("far", "right"), "near", False, pytest.approx(np.cos(np.pi / 6))),  # the closest counts
        (("right",), "The right!", False, 1.0),
        (("right",), " ", False, 0.0),
        (("right",), "near", True, None),
        ((), "near", False, None),
    ],
)
def test_answer_similarity(row, output, answers, text, declined, similarity) -> None:
    def embed(texts: list[str]) -> list[np.ndarray]:
        return [np.array([np.cos(ANGLES[text]), np.sin(ANGLES[text])]) for text in texts]

    (found,) = score([AnswerSimilarity(MetricBatcher(embed))], (row(*answers), output(text, declined=declined)))
    expected = pytest.approx(similarity, abs=1e-9) if isinstance(similarity, float) else similarity
    assert found["scores"]["answer_similarity"] == expected
