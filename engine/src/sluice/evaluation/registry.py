"""Every metric by name: those of evaluation/metrics/ and of a fork's src/assistant/metrics/, each with `@metric`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar, get_args

from sluice.core.errors import SluiceError
from sluice.core.registry import APPLICATION, Registry
from sluice.evaluation.output import Aggregate, Direction, Metric, Needs

if TYPE_CHECKING:
    from sluice.evaluation.metric_batching import MetricBatcher
    from sluice.retrieval.embedder import Vectors

METRICS: Registry[type[Metric]] = Registry("metric", "sluice.evaluation.metrics", f"{APPLICATION}.metrics")
M = TypeVar("M", bound=type[Metric])


@dataclass(frozen=True)
class MetricResources:
    """What some metrics are made with; None where a run has none of it, and they are left out.

    Attributes:
        vectors: one vector of length 1 for each text.
        judge: the metric of the language model that judges, where the role `judge` is not empty.
    """

    vectors: MetricBatcher[Vectors] | None = None
    judge: Metric | None = None


def metric(cls: M) -> M:
    """Class decorator: adds a subclass of `Metric` to the metrics of every evaluation.

    Raises:
        SluiceError: it does not say what it is, or its name is taken.
    """
    missing = [name for name in ("name", "what", "unit") if not getattr(cls, name, "")]
    if missing:
        raise SluiceError(f"{cls.__module__}: {cls.__name__} does not say its {' and '.join(missing)}")
    allowed_of = {
        "aggregate": get_args(Aggregate),
        "needs": get_args(Needs),
        "direction": (None, *get_args(Direction)),
    }
    for name, allowed in allowed_of.items():
        if getattr(cls, name) not in allowed:
            raise SluiceError(f"{cls.__module__}: {cls.__name__}: {name}: {getattr(cls, name)!r} is not in {allowed}")
    if (cls.direction is None) is not (cls.aggregate == "counts"):
        raise SluiceError(f"{cls.__module__}: {cls.__name__}: counts of labels, and nothing else, have no direction")
    METRICS.add(cls.name, cls, cls.__module__)
    return cls


def make_metrics(resources: MetricResources = MetricResources()) -> tuple[Metric, ...]:
    """The metrics of a run, in the order of the registry, the judge last; without resources, those that need only a
    case."""
    made = []
    for cls in sorted(METRICS.values(), key=lambda one: "judge" in one.resources):
        given = [getattr(resources, name) for name in cls.resources]
        if all(one is not None for one in given):
            made.append(given[0] if cls.resources == ("judge",) else cls(*given))
    return tuple(made)
