"""Metrics of a project's own: a figure and an assertion are scored and summed up as the engine's are."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sluice.core.errors import SluiceError
from sluice.evaluation.registry import METRICS
from sluice.evaluation.scoring import run_metrics
from sluice.evaluation.summary import summarise
from sluice.extend import Assertion, Metric, Output, Row, metric


class Digits(Metric):
    """The share of digits in an answer."""

    name = "digits"
    unit = "share"

    def score(self, row: Row, output: Output) -> float | None:
        del row  # any answer
        signs = [sign for sign in output.text if sign.isalnum()]
        return sum(sign.isdigit() for sign in signs) / len(signs) if signs else None


class EndsWell(Metric):
    """Whether an answer ends with a full stop, for those that are whole sentences."""

    name = "ends_well"
    unit = "share"
    aggregate = "share"

    def score(self, row: Row, output: Output) -> Assertion | None:
        del row
        if len(output.text.split()) < 3:
            return None
        last = output.text[-1]
        return Assertion(last == ".", f"ends with {last!r}")


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


def test_they_score_and_are_summed_up(row, output) -> None:
    metrics = [Digits(), EndsWell()]
    texts = ["64 tok", "They share 64 tokens of text.", "They share 64 tokens of text", ""]
    rows = [row("x", id=f"r{number}") for number in range(len(texts))]

    async def score() -> list[dict[str, Any]]:
        pairs = zip(rows, texts, strict=True)
        return await asyncio.gather(*(run_metrics(case, output(text), metrics) for case, text in pairs))

    cases = asyncio.run(score())
    assert [case["scores"]["digits"] for case in cases] == [0.4, pytest.approx(2 / 23), pytest.approx(2 / 23), None]
    assert [case["assertions"].get("ends_well", {}).get("passed") for case in cases] == [None, True, False, None]
    assert cases[2]["assertions"]["ends_well"]["reason"] == "ends with 't'"
    summary = summarise(rows, cases, metrics)
    assert summary["metrics"]["digits"]["samples"] == 3
    assert summary["assertions"]["ends_well"]["share"] == 0.5
