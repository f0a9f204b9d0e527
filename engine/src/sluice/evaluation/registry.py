"""Metrics by name, and their inputs and results. `@metric` adds one, also of an extra or of src/assistant/metrics/."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias, TypeVar, get_args, overload

from sluice.core.errors import SluiceError
from sluice.core.extras import packages
from sluice.core.registry import APPLICATION, Registry
from sluice.data.rows import Row as Row  # what a metric needs is imported from one place

if TYPE_CHECKING:
    from sluice.retrieval.embedder import Vectors


@dataclass(frozen=True)
class Output:
    """An answer as metrics see it. Times are in milliseconds, `cost` in US dollars (None if unknown).

    Attributes:
        retrieved: document ids of the top chunks, best first.
        passages: texts of the passages that the model saw, best first.
        recorded: the answer comes out of the response cache, and its times are of when it was asked.
        steps: calls of the application's own tools.
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
        """Return its part of a record, as JSON has it: the text under `answer`, times to a tenth of a millisecond."""
        noted = {name: value for name, value in asdict(self).items() if name != "steps" or value}
        found = {name: list(value) if isinstance(value, tuple) else value for name, value in noted.items()}
        ttft_ms = None if self.ttft_ms is None else round(self.ttft_ms, 1)
        return {"answer": found.pop("text")} | found | {"latency_ms": round(self.latency_ms, 1), "ttft_ms": ttft_ms}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Output:
        """Return the output that the metrics saw when the record was made."""
        noted = {field.name: record[field.name] for field in fields(cls) if field.name in record}
        lists = {name: tuple(value) for name, value in noted.items() if isinstance(value, list)}
        return cls(text=record["answer"], **(noted | lists))


@dataclass(frozen=True)
class Label:
    """A word for a case, such as the language of its answer. Labels are counted."""

    word: str


@dataclass(frozen=True)
class Assertion:
    """Something that holds for a case or doesn't, and why. Assertions have a share that passed."""

    passed: bool
    reason: str = ""


Result: TypeAlias = float | Label | Assertion | None
Direction: TypeAlias = Literal["higher", "lower"]
Aggregate: TypeAlias = Literal["mean", "p50", "p95", "share", "counts"]
Needs: TypeAlias = Literal["answer", "passages", "model", "clock", "price"]
Resource: TypeAlias = Literal["vectors", "judge"]


class Metric:
    """A small class whose `score` judges one case, or gives None where it doesn't apply.

    Attributes:
        name: as it is in config/gates.yaml and in every report.
        what: what is measured, for the reference page.
        rows: the rows that it can score, in words that follow "rows", such as "with answers".
        unit: of the figure.
        direction: the better direction; None for labels.
        aggregate: the `mean`, `p50` or `p95` of scores, the `share` of passed assertions, or the `counts` of labels.
        version: changes when the same case may get another result.
        needs: the source of the score: the `answer` alone, which is all that a canary shows; the `passages`; a `model`
            of its own; a `clock` that nothing else disturbs; or the `price`.
        resources: fields of `MetricResources` that it is made with.
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
        """Judge one case; the result may be a coroutine.

        Args:
            row: the question and what is expected.
            output: the application's answer.

        Returns:
            The result, or an awaitable of it; None where the metric doesn't apply.

        Raises:
            Exception: any; it is an error of this metric in this case.
        """
        raise NotImplementedError(f"{type(self).__name__} has no score")


@dataclass(frozen=True)
class NamedMeasure:
    """A metric as a summary has it: what a comparison has to know."""

    name: str
    unit: str = "share"
    direction: str | None = "higher"
    aggregate: str = "mean"


METRICS: Registry[type[Metric] | Metric] = Registry(
    "metric", "sluice.evaluation.metrics", *packages("metrics"), f"{APPLICATION}.metrics"
)
M = TypeVar("M", bound=type[Metric])
T = TypeVar("T")
Scoring: TypeAlias = Callable[[Row, Output], Result | Awaitable[Result]]


@dataclass(frozen=True)
class MetricResources:
    """Resources that metrics are made with; None where a run doesn't have one.

    Attributes:
        vectors: one vector of length 1 for each text.
        judge: the metric of the language model that judges, where the role `judge` is not empty.
    """

    vectors: MetricBatcher[Vectors] | None = None
    judge: Metric | None = None


class _FunctionMetric(Metric):
    def __init__(self, function: Scoring, about: dict[str, Any]) -> None:
        # What is made with resources keeps them, and needs a class.
        if unknown := about.keys() - (Metric.__annotations__.keys() - {"resources"}):
            raise SluiceError(f"{function.__module__}: {function.__name__}: a metric has no {min(unknown)!r}")
        vars(self).update({"name": function.__name__, "__module__": function.__module__} | about)
        self._function = function

    def score(self, row: Row, output: Output) -> Result | Awaitable[Result]:
        return self._function(row, output)


@overload
def metric(given: M, /) -> M: ...
@overload
def metric(**about: Any) -> Callable[[Scoring], Metric]: ...
def metric(given: type[Metric] | None = None, /, **about: Any) -> Any:
    """Decorator: adds a metric to those of every evaluation.

    Args:
        given: a subclass of `Metric`; without it, a function of row and output is decorated.
        about: the attributes of a function's metric, as `Metric` has them; its name is that of the function.

    Returns:
        The class, or the metric that was made of the function.

    Raises:
        SluiceError: an attribute is missing or unknown, or its name is taken.
    """
    if given is not None:
        return _add(given, given)
    return lambda function: _add(_FunctionMetric(function, about), function)


def _add(made: Any, where: Any) -> Any:
    place = f"{where.__module__}: {where.__name__}"
    if missing := [name for name in ("name", "what", "unit") if not getattr(made, name, "")]:
        raise SluiceError(f"{place} has no {' and '.join(missing)}")
    directions = (None, *get_args(Direction))
    for name, allowed in {"aggregate": get_args(Aggregate), "needs": get_args(Needs), "direction": directions}.items():
        if getattr(made, name) not in allowed:
            raise SluiceError(f"{place}: {name}: {getattr(made, name)!r} is not in {allowed}")
    if (made.direction is None) is not (made.aggregate == "counts"):
        raise SluiceError(f"{place}: counts of labels, and nothing else, have no direction")
    METRICS.add(made.name, made, where.__module__)
    return made


def make_metrics(resources: MetricResources = MetricResources()) -> tuple[Metric, ...]:
    """Return the metrics of a run in the order of the registry, the judge last."""
    made: list[Metric] = []
    for one in sorted(METRICS.values(), key=lambda one: "judge" in one.resources):
        given = [getattr(resources, name) for name in one.resources]
        if isinstance(one, Metric):
            made.append(one)
        elif None not in given:
            made.append(given[0] if one.resources == ("judge",) else one(*given))
    return tuple(made)


class MetricBatcher(Generic[T]):
    """Computes a value for each text once, one call at a time in a thread, over all texts that wait by then."""

    def __init__(self, compute: Callable[[list[str]], Iterable[T]]) -> None:
        self._compute = compute
        self._known: dict[str, T] = {}
        self._waiting: dict[str, None] = {}
        self._computing: frozenset[str] = frozenset()
        self._worker: asyncio.Task[None] | None = None

    async def of(self, texts: Sequence[str]) -> list[T]:
        unknown = [text for text in texts if text not in self._known]
        if unknown:
            self._waiting |= {text: None for text in unknown if text not in self._computing}
            if self._worker is None or self._worker.done():
                self._worker = asyncio.create_task(self._work())
            # One case that is cancelled must not take away what the others wait for.
            await asyncio.shield(self._worker)
        return [self._known[text] for text in texts]

    async def _work(self) -> None:
        await asyncio.sleep(0)  # everybody who is ready has asked by then
        while self._waiting:
            texts = list(self._waiting)
            self._waiting.clear()
            self._computing = frozenset(texts)
            try:
                values = await asyncio.to_thread(self._compute, texts)
                self._known.update(zip(texts, values, strict=True))
            finally:
                self._computing = frozenset()
