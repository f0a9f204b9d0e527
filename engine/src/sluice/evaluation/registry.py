"""Every metric by name, each by `@metric`: of evaluation/metrics/, of extras, of a fork's src/assistant/metrics/."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, get_args, overload

from sluice.core.errors import SluiceError
from sluice.core.extras import packages
from sluice.core.registry import APPLICATION, Registry
from sluice.data.rows import Row
from sluice.evaluation.output import Aggregate, Assertion, Direction, Label, Metric, Needs, Output, Result

if TYPE_CHECKING:
    from sluice.evaluation.metric_batching import MetricBatcher
    from sluice.retrieval.embedder import Vectors

# What a file of metrics/ needs stands here, so that it imports from one place.
__all__ = ["METRICS", "Assertion", "Label", "Metric", "MetricResources", "Output", "Row", "make_metrics", "metric"]

METRICS: Registry[type[Metric] | Metric] = Registry(
    "metric", "sluice.evaluation.metrics", *packages("metrics"), f"{APPLICATION}.metrics"
)
M = TypeVar("M", bound=type[Metric])
Scoring: TypeAlias = Callable[[Row, Output], Result | Awaitable[Result]]


@dataclass(frozen=True)
class MetricResources:
    """What some metrics are made with; None where a run has none of it, and they are left out.

    Attributes:
        vectors: one vector of length 1 for each text.
        judge: the metric of the language model that judges, where the role `judge` is not empty.
    """

    vectors: MetricBatcher[Vectors] | None = None
    judge: Metric | None = None


class _FunctionMetric(Metric):
    """A metric that is one function, with what its decorator says of it."""

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
        given: a subclass of `Metric`; or none, and it decorates a function of row and output, which gives the result.
        about: the attributes of a function's metric, as `Metric` has them; its name is that of the function.

    Returns:
        The class, or the metric that was made of the function.

    Raises:
        SluiceError: it does not say what it is, or its name is taken.
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
    """The metrics of a run, in the order of the registry, the judge last; without resources, those that need only a
    case."""
    made: list[Metric] = []
    for one in sorted(METRICS.values(), key=lambda one: "judge" in one.resources):
        given = [getattr(resources, name) for name in one.resources]
        if isinstance(one, Metric):
            made.append(one)
        elif None not in given:
            made.append(given[0] if one.resources == ("judge",) else one(*given))
    return tuple(made)
