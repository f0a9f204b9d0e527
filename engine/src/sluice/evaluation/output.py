"""The input of a metric, one case, and its result: a score, a label or an assertion."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, TypeAlias

from sluice.data.rows import Row


@dataclass(frozen=True)
class Output:
    """`retrieved`: document ids, best first, one for each of the top chunks. Times in milliseconds.

    `passages`: texts of the passages that the model saw, best first. `cost`: US dollars, None when it is not known.
    `recorded`: the answer comes out of the response cache, and its times are of when it was asked. `steps`: calls of
    the application's own tools.
    """

    text: str
    declined: bool = False
    retrieved: tuple[str, ...] = ()
    citations: tuple[str, ...] = ()
    latency_ms: float = 0.0
    ttft_ms: float | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    passages: tuple[str, ...] = ()
    cost: float | None = None
    recorded: bool = False
    steps: tuple[Mapping[str, Any], ...] = ()

    def as_record(self) -> dict[str, Any]:
        """Its part of a record, as JSON has it: the text under `answer`, times to a tenth of a millisecond."""
        noted = {name: value for name, value in asdict(self).items() if name != "steps" or value}
        found = {name: list(value) if isinstance(value, tuple) else value for name, value in noted.items()}
        ttft_ms = None if self.ttft_ms is None else round(self.ttft_ms, 1)
        return {"answer": found.pop("text")} | found | {"latency_ms": round(self.latency_ms, 1), "ttft_ms": ttft_ms}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Output:
        """What the metrics saw when the record was made. What an older version did not note is empty."""
        noted = {field.name: record[field.name] for field in fields(cls) if field.name in record}
        lists = {name: tuple(value) for name, value in noted.items() if isinstance(value, list)}
        return cls(text=record["answer"], **(noted | lists))


@dataclass(frozen=True)
class Label:
    """A word for a case, such as the language of its answer. Labels are counted."""

    word: str


@dataclass(frozen=True)
class Assertion:
    """Something that holds for a case or does not, and why. Assertions have a share that passed."""

    passed: bool
    reason: str = ""


Result: TypeAlias = float | Label | Assertion | None
Direction: TypeAlias = Literal["higher", "lower"]
Aggregate: TypeAlias = Literal["mean", "p50", "p95", "share", "counts"]
Needs: TypeAlias = Literal["answer", "passages", "model", "clock", "price"]
Resource: TypeAlias = Literal["vectors", "judge"]


class Metric:
    """A metric is a small class: `score` judges one case, or gives None where it does not apply. It may be a coroutine.

    Attributes:
        name: as it is in config/gates.yaml and in every report.
        what: what is measured, for the reference page.
        rows: the rows that it can score, in words that follow "rows", such as "with answers".
        unit: of the figure.
        direction: which way is better; None for labels.
        aggregate: what it gives and how all cases become one figure: the `mean`, `p50` or `p95` of scores, the `share`
            of assertions that passed, or the `counts` of labels. These are never mixed.
        version: changes when the same case may get another result.
        needs: what the score is made of beside the row: the `answer` alone (text, citations, tokens), which is all that
            a canary shows over HTTP; what was found (`passages`); a `model` of its own; a `clock` that nothing else
            disturbs; or the `price` of the answer.
        resources: what of `registry.MetricResources` it is made with.
        libraries: distributions whose version decides about results beside `version`.
    """

    name: str
    what: str
    unit: str
    rows: str = "of any kind"
    direction: Direction | None = "higher"
    aggregate: Aggregate = "mean"
    version: str = "1"
    needs: Needs = "answer"
    resources: tuple[Resource, ...] = ()
    libraries: tuple[str, ...] = ()

    def score(self, row: Row, output: Output) -> Result | Awaitable[Result]:
        """Judges one case.

        Args:
            row: what was asked, and what is expected.
            output: what came of it.

        Returns:
            The result, or an awaitable of it; None where the metric does not apply.

        Raises:
            Exception: any; it is an error of this metric in this case.
        """
        raise NotImplementedError(f"{type(self).__name__} has no score")


@dataclass(frozen=True)
class NamedMeasure:
    """A metric by what a comparison has to know of it alone, as a summary has it."""

    name: str
    unit: str = "share"
    direction: str | None = "higher"
    aggregate: str = "mean"
