"""engine/docs/reference/metrics.md shows the figures that are measured. house/test_help.py compares its table."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from sluice import evaluation
from sluice.core.atomic_files import read_jsonl

LABELLED = Path(evaluation.__file__).parent / "calibration"
PAGE = (Path(__file__).resolve().parents[4] / "engine/docs/reference/metrics.md").read_text()


def test_toxicity_finds_what_the_page_says() -> None:
    from profanity_check import predict_prob

    cases = read_jsonl(LABELLED / "toxicity.jsonl")
    found: defaultdict[str, list[bool]] = defaultdict(list)
    for case, likely in zip(cases, predict_prob([case["text"] for case in cases]), strict=True):
        found[case["kind"]].append(likely >= 0.5)
    for kind, hits in found.items():
        assert f"| {kind} | {len(hits)} | {sum(hits)} |" in PAGE
