"""The comparison policy: section `comparison:` of config/gates.yaml, with all its numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from sluice.core.extras import is_left_out
from sluice.core.settings import Settings, load_settings

Decides = Literal["always", "when_asked", "when_worse", "never"]


class MetricPolicy(Settings):
    """The effect of a metric on the verdict, and the smallest difference that matters.

    `decides`: `always` (too few cases for it are too few for a verdict), `when_asked` (only if enough cases have it),
    `when_worse` (a better figure is no improvement, and a worse one only informs where another metric improved) or
    `never`. A difference must reach both `smallest` (in the metric's unit) and `smallest_ratio` of the base.
    `deterministic`: the same release always gives the same value, so a fall that matters is worse without a test.
    """

    decides: Decides = "never"
    smallest: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    smallest_ratio: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    minimum_cases: int | None = Field(default=None, ge=2)
    deterministic: bool = False

    def matters(self, base: float) -> float:
        """Return the smallest difference to `base` that matters, in the metric's unit."""
        return max(self.smallest, self.smallest_ratio * abs(base))


class SlicePolicy(Settings):
    """Tags with `minimum_cases` are compared on their own, `at_most` the largest of them."""

    minimum_cases: int = Field(ge=2)
    at_most: int = Field(ge=0)


class LookPolicy(Settings):
    """A look after a `share` of the cases, with a part `alpha` of the error 1 - confidence."""

    share: float = Field(gt=0, le=1)
    alpha: float = Field(gt=0, le=1)


class ComparisonPolicy(Settings):
    """The section `comparison:`. The same records and policy give the same comparison."""

    confidence: float = Field(gt=0.5, lt=1)  # that no metric of all is called different when nothing is
    power: float = Field(gt=0.5, lt=1)  # the chance to find a difference of the stated detectable size
    resamples: int = Field(ge=100, le=1_000_000)
    seed: int = Field(ge=0)
    minimum_cases: int = Field(ge=2)  # below it a metric is not judged
    unsure: Literal["promote", "refuse"] = "promote"  # of a fall that matters and may be chance
    looks: tuple[LookPolicy, ...] = (LookPolicy(share=1, alpha=1),)
    slices: SlicePolicy
    metrics: dict[str, MetricPolicy]

    @field_validator("metrics", mode="before")
    @classmethod
    def _of_parts_that_are_on(cls, metrics: Any) -> Any:
        if not isinstance(metrics, dict):
            return metrics
        return {name: one for name, one in metrics.items() if not is_left_out("metrics", str(name))}

    @model_validator(mode="after")
    def _can_decide(self) -> ComparisonPolicy:
        deciding = sum(metric.decides != "never" for metric in self.metrics.values())
        if not deciding:
            raise _fault("metrics: none of them decides, so every change would pass")
        shares = [look.share for look in self.looks]
        if shares != sorted(set(shares)) or shares[-1:] != [1]:
            raise _fault("looks: the shares must rise, and the last one must be 1")
        if abs(sum(look.alpha for look in self.looks) - 1) > 1e-9:
            raise _fault("looks: the parts of alpha must add up to 1")
        needed = round(2 * deciding / (1 - self.confidence))
        if self.resamples < needed:
            raise _fault(
                f"resamples: {self.resamples} cannot tell {deciding} metrics apart at confidence {self.confidence:g}; "
                f"at least {needed} are needed"
            )
        return self

    def of(self, metric: str) -> MetricPolicy:
        """Return the policy of a metric; one that the file doesn't name informs."""
        return self.metrics.get(metric) or MetricPolicy()

    def least(self, metric: str) -> int:
        return self.of(metric).minimum_cases or self.minimum_cases


def _fault(what: str) -> PydanticCustomError:
    # A plain ValueError would be shown with pydantic's own prefix; the text goes through context so that braces stay.
    return PydanticCustomError("comparison", "{what}", {"what": what})


class _PolicyFile(Settings):
    gates: tuple[Any, ...] = ()
    comparison: ComparisonPolicy


def load_policy(path: Path) -> ComparisonPolicy:
    return load_settings(path, _PolicyFile).comparison
