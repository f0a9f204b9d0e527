from __future__ import annotations

from functools import partial
from typing import Any

from sluice.data.rows import Row
from sluice.evaluation.metrics.exact_match import exact_match
from sluice.evaluation.metrics.latency import latency_p50_ms
from sluice.evaluation.output import Output
from sluice.evaluation.rescoring import rescore
from sluice.evaluation.scoring import run_metrics

ROW = Row(id="a", question="How much overlap?", answers=("64 tokens",), doc_ids=("chunking",))
RECORD: dict[str, Any] = {
    "id": "a",
    "answer": "64 tokens",
    "declined": False,
    "retrieved": ["chunking"],
    "citations": ["chunking"],
    "latency_ms": 12.5,
    "ttft_ms": None,
    "prompt_tokens": 9,
    "completion_tokens": 2,
    "scores": {"of_an_older_version": 0.1},
    "errors": {"gone": "it crashed"},
}
SCORE = partial(run_metrics, metrics=(exact_match, latency_p50_ms))


def test_answers_get_the_scores_of_today_and_lose_those_of_before() -> None:
    (found,) = rescore([RECORD], [ROW], SCORE)
    assert found["scores"] == {"exact_match": 1.0, "latency_p50_ms": 12.5}
    assert (found["labels"], found["assertions"], found["errors"]) == ({}, {}, {})
    assert {key: found[key] for key in RECORD if key not in ("scores", "errors")} == {
        key: value for key, value in RECORD.items() if key not in ("scores", "errors")
    }
    assert RECORD["scores"] == {"of_an_older_version": 0.1}


def test_a_case_without_an_answer_stays_what_it_is() -> None:
    failed = RECORD | {"status": "failed", "answer": None, "scores": {}, "errors": {"f1": "ModelError: gone"}}
    missed = RECORD | {"status": "not_evaluated", "answer": None, "scores": {}, "errors": {"replay": "not there"}}
    assert rescore([failed, missed], [ROW], SCORE) == [failed, missed]


def test_a_record_is_what_the_metrics_saw() -> None:
    seen = Output("64 tokens", False, ("chunking",), ("chunking",), 12.5, None, 9, 2)
    assert Output.from_record(RECORD) == seen
    later = {"passages": ["p"], "cost": 0.5, "recorded": True}
    assert Output.from_record(RECORD | later) == Output(
        "64 tokens", False, ("chunking",), ("chunking",), 12.5, None, 9, 2, passages=("p",), cost=0.5, recorded=True
    )
