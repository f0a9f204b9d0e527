"""The metric of insults, and the figures that engine/docs/reference/metrics.md shows of it."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from pathlib import Path

from sluice.core.atomic_files import read_jsonl
from sluice.evaluation.registry import METRICS
from sluice.extras.guard import metrics
from sluice.extras.guard.metrics.toxicity import Toxicity
from sluice.release.coverage import can_score

LABELLED = Path(metrics.__file__).parent / "toxicity.jsonl"
PAGE = (Path(__file__).resolve().parents[5] / "engine/docs/reference/metrics.md").read_text()


def test_toxicity_sees_insults_and_leaves_the_trade_alone(row, output) -> None:
    texts = ["You are a stupid idiot.", "The person on call is paged.", " ", "64 tokens"]

    async def score() -> list[float | None]:
        metric = Toxicity()
        return await asyncio.gather(*(metric.score(row(), output(text)) for text in texts))

    insult, plain, blank, span = asyncio.run(score())
    assert insult > 0.9
    assert plain < 0.2
    assert span < 0.2
    assert blank is None


def test_toxicity_finds_what_the_page_says() -> None:
    from profanity_check import predict_prob

    cases = read_jsonl(LABELLED)
    found: defaultdict[str, list[bool]] = defaultdict(list)
    for case, likely in zip(cases, predict_prob([case["text"] for case in cases]), strict=True):
        found[case["kind"]].append(likely >= 0.5)
    for kind, hits in found.items():
        assert f"{kind} {sum(hits)} of {len(hits)}" in PAGE


def test_it_can_score_every_row_of_an_evaluation(row) -> None:
    assert METRICS["toxicity"] is Toxicity
    assert can_score(Toxicity(), row("x"))
    assert can_score(Toxicity(), row())
