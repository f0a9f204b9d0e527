"""Groundedness: the share of the answer's sentences that a passage in the prompt supports.

`sluice.extras.language.grounding` says when one supports the other. Answers that were not declined and have words;
without passages nothing is supported.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sluice.core.text import sentences
from sluice.data.near_duplicates import words
from sluice.evaluation.registry import Metric, MetricBatcher, Output, Row, metric
from sluice.extras.language.grounding import ALIKE, COPIED, NEAR, find_evidence

if TYPE_CHECKING:
    from sluice.retrieval.embedder import Vectors


@metric
class Groundedness(Metric):
    """`vectors`: one vector of length 1 for each text."""

    name = "groundedness"
    what = "share of the answer's sentences that a passage supports (below)"
    unit = "share"
    rows = "whose answer has words and is no decline"
    needs = "passages"
    resources = ("vectors",)

    def __init__(self, vectors: MetricBatcher[Vectors]) -> None:
        self._vectors = vectors

    async def score(self, row: Row, output: Output) -> float | None:  # noqa: ARG002 - the protocol's signature
        claims = [] if output.declined else [claim for claim in sentences(output.text) if words(claim)]
        if not claims:
            return None
        held = await asyncio.gather(*(self.supported(claim, output.passages) for claim in claims))
        return sum(held) / len(held)

    async def supported(self, claim: str, passages: tuple[str, ...]) -> bool:
        """Whether one of the passages supports a sentence."""
        evidence = find_evidence(claim, passages)
        if not NEAR <= evidence.share < COPIED:
            return evidence.share >= COPIED
        ours, theirs = await self._vectors.of([claim, evidence.sentence])
        return float(ours @ theirs) >= ALIKE
