"""The search space and the budget of a sweep: section `sweep` of pipelines/params.yaml."""

from __future__ import annotations

from typing import Any, Generic, Self, TypeVar

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator

from sluice.core.settings import Settings
from sluice.extras.finetune.training_parameters import TrainingParameters

N = TypeVar("N", int, float)


class ParameterValues(Settings, Generic[N]):
    """Values that a parameter may take: all from `low` to `high`, or one of `choices`."""

    low: N | None = None
    high: N | None = None
    log: bool = Field(False, description="draw the exponent evenly, not the value")
    choices: tuple[N, ...] = ()

    @model_validator(mode="after")
    def _either(self) -> Self:
        if self.choices:
            if self.low is not None or self.high is not None or self.log:
                raise ValueError("has choices and a range: keep one of them")
            return self
        if self.low is None or self.high is None:
            raise ValueError("needs low and high, or choices")
        if self.low >= self.high:
            raise ValueError(f"low {self.low:g} is not below high {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"log needs a low above 0, not {self.low:g}")
        return self

    @property
    def ends(self) -> tuple[N, ...]:
        """All choices, or both ends of the range."""
        return self.choices or tuple(end for end in (self.low, self.high) if end is not None)

    def holds(self, value: float) -> bool:
        return value in self.choices if self.choices else min(self.ends) <= value <= max(self.ends)

    def __str__(self) -> str:
        joint = ", " if self.choices else " to "
        return joint.join(f"{end:g}" for end in self.ends) + (" (log)" if self.log else "")


class SearchSpace(Settings):
    """Parameters of `train` that decide how it learns. What decides which rows are held, or how a row becomes examples,
    is not among them: losses of different rows cannot be compared."""

    rank: ParameterValues[int] | None = None
    alpha: ParameterValues[float] | None = None
    layers: ParameterValues[int] | None = None
    learning_rate: ParameterValues[float] | None = None
    warmup: ParameterValues[int] | None = None
    steps: ParameterValues[int] | None = None
    batch: ParameterValues[int] | None = None
    accumulate: ParameterValues[int] | None = None
    weight_decay: ParameterValues[float] | None = None
    clip: ParameterValues[float] | None = None

    @field_validator("*")
    @classmethod
    def _trainable(cls, candidates: ParameterValues[Any] | None, info: ValidationInfo) -> ParameterValues[Any] | None:
        for value in candidates.ends if candidates else ():
            try:
                TrainingParameters.model_validate({info.field_name: value})
            except ValidationError as error:
                raise ValueError(f"train.{info.field_name} cannot be {value:g}: {error.errors()[0]['msg']}") from None
        return candidates

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if not self.varied():
            raise ValueError(f"names no parameter; it may name {', '.join(type(self).model_fields)}")
        return self

    def varied(self) -> dict[str, ParameterValues[Any]]:
        """The parameters that are named, with their candidates."""
        return {name: value for name in type(self).model_fields if (value := getattr(self, name)) is not None}


class SweepSettings(Settings):
    """How long a sweep goes on, and where it looks."""

    trials: int = Field(ge=1, le=10_000, description="training runs in all")
    minutes: float = Field(gt=0, description="of training in all; no trial begins after them")
    held_share: float = Field(
        gt=0, le=0.5, description="share of the training rows that are kept out, to judge each trial by their loss"
    )
    space: SearchSpace
