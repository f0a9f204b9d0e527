"""The code of docs/extend.md does what the page says."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from sluice.evaluation.scoring import run_metrics
from sluice.evaluation.summary import summarise

PAGE = Path(__file__).resolve().parents[4] / "docs/extend.md"


@pytest.fixture(scope="module")
def classes() -> dict[str, Any]:
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert len(blocks) == 2
    names: dict[str, Any] = {}
    for block in blocks:
        exec(block, names)
    return names


def test_the_examples_score_and_are_summed_up(classes, row, output) -> None:
    metrics = [classes["Digits"](), classes["EndsWell"]()]
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
