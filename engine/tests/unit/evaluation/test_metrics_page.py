"""engine/docs/reference/metrics.md lists exactly the metrics that exist, and the figures that are measured."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

from sluice.core.files import read_jsonl
from sluice.evaluation.batching import Batched
from sluice.evaluation.calibration import CASES
from sluice.evaluation.metrics import EMBEDDING, METRICS
from sluice.evaluation.metrics.judge import Judge

PAGE = (Path(__file__).resolve().parents[4] / "engine/docs/reference/metrics.md").read_text()
KINDS = {"mean": "score, mean", "p50": "score, p50", "p95": "score, p95", "share": "assertion", "counts": "label"}


def test_the_table_is_the_registry() -> None:
    every = [*METRICS, *(metric(Batched(list)) for metric in EMBEDDING), Judge]
    table = PAGE.partition("## All of them")[2].partition("\n## ")[0]
    lines = [line.split("|") for line in table.splitlines() if line.startswith("| `")]
    listed = {name: cells for cells in lines for name in re.findall(r"`(\w+)`", cells[1])}
    assert set(listed) == {metric.name for metric in every}
    for metric in every:
        _, _, kind, _, unit, better, _, _ = (cell.strip() for cell in listed[metric.name])
        assert kind.startswith(KINDS[metric.aggregate].partition(",")[0]), metric.name
        assert KINDS[metric.aggregate].rpartition(" ")[2] in kind, metric.name
        assert (unit, better) == (metric.unit, metric.direction or ""), metric.name


def test_toxicity_finds_what_the_page_says() -> None:
    from profanity_check import predict_prob

    cases = read_jsonl(CASES.with_name("toxicity.jsonl"))
    found: defaultdict[str, list[bool]] = defaultdict(list)
    for case, likely in zip(cases, predict_prob([case["text"] for case in cases]), strict=True):
        found[case["kind"]].append(likely >= 0.5)
    for kind, hits in found.items():
        assert f"| {kind} | {len(hits)} | {sum(hits)} |" in PAGE
