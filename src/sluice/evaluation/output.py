"""What a metric sees of one case: the row that was asked, and what the application did with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from sluice.data.rows import Row


@dataclass(frozen=True)
class Output:
    """`retrieved`: document ids, best first, one for each of the top chunks. Times in milliseconds."""

    text: str
    declined: bool
    retrieved: tuple[str, ...]
    citations: tuple[str, ...]
    latency_ms: float
    ttft_ms: float | None
    prompt_tokens: int
    completion_tokens: int


class Metric(Protocol):
    """A metric is a small class: `score` gives a number for one case, or None where it does not apply.

    `aggregate` says how the scores of all cases become one figure: their mean, or a percentile.
    """

    @property
    def name(self) -> str: ...

    @property
    def unit(self) -> str: ...

    @property
    def direction(self) -> Literal["higher", "lower"]: ...

    @property
    def aggregate(self) -> Literal["mean", "p50", "p95"]: ...

    def score(self, row: Row, output: Output) -> float | None: ...
