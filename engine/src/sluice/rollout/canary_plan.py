"""Parses k8s/base/rollout.yaml, the only description of the canary, into the steps of a rehearsal.

What is read is exactly the subset of Argo's fields that the rehearsal runs as a cluster would; any other is refused by
name with its line. What an analysis runs comes from the argument defaults of engine/k8s/analysis/<template>.yaml.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

from sluice.core.errors import ValidationErrors
from sluice.core.settings import Place, place_of, read_yaml
from sluice.rollout.analysis_templates import LoadParameters, Parameters, known_shapes, parse_duration, read_parameters
from sluice.rollout.argo_models import REMEDY, Rollout, StepSpec, validate

# Below the repository, whose canary is described in k8s/base/rollout.yaml.
TEMPLATES = Path("engine", "k8s", "analysis")
_STEPS: Place = ("spec", "strategy", "canary", "steps")


@dataclass(frozen=True)
class SetWeight:
    """The canary gets `weight` percent of the visitors."""

    kind: ClassVar[Literal["setWeight"]] = "setWeight"
    seconds: ClassVar[float] = 0.0
    weight: int


@dataclass(frozen=True)
class SetCanaryScale:
    """Pods of the canary without visitors, or as many as its weight asks for. A rehearsal has its one process."""

    kind: ClassVar[Literal["setCanaryScale"]] = "setCanaryScale"
    seconds: ClassVar[float] = 0.0


@dataclass(frozen=True)
class PauseStep:
    """Visitors only, for `seconds`."""

    kind: ClassVar[Literal["pause"]] = "pause"
    seconds: float


@dataclass(frozen=True)
class AnalysisStep:
    """A template that decides whether the canary goes on."""

    kind: ClassVar[Literal["analysis"]] = "analysis"
    template: str
    parameters: Parameters

    @property
    def seconds(self) -> float:
        """Of the load; answers that are compared take what they take, about a second each on a laptop."""
        if isinstance(self.parameters, LoadParameters):
            return self.parameters.seconds
        return float(self.parameters.cases)


Step = SetWeight | SetCanaryScale | PauseStep | AnalysisStep


@dataclass(frozen=True)
class CanaryPlan:
    """The canary steps in order. After the last one the canary takes all visitors."""

    path: Path
    steps: tuple[Step, ...]

    @property
    def seconds(self) -> float:
        """Planned time of all steps."""
        return sum(step.seconds for step in self.steps)

    def fitted(self, *, time_scale: float, cases: int = 0) -> CanaryPlan:
        """The plan as one machine walks it."""
        return replace(self, steps=tuple(_fit(step, time_scale, cases) for step in self.steps))


def _fit(step: Step, time_scale: float, cases: int) -> Step:
    if isinstance(step, PauseStep):
        return PauseStep(step.seconds * time_scale)
    if not isinstance(step, AnalysisStep):
        return step
    known = step.parameters
    if isinstance(known, LoadParameters):
        return replace(step, parameters=replace(known, seconds=known.seconds * time_scale))
    return replace(step, parameters=replace(known, cases=cases or known.cases))


def load_plan(path: Path, root: Path | None = None) -> CanaryPlan:
    """Reads a Rollout, and the AnalysisTemplates it names."""
    checkout = path.parents[2]
    read = partial(read_parameters, (root or checkout) / TEMPLATES, shapes=known_shapes(checkout))
    document, lines = read_yaml(path)
    specs = validate(path, document, lines, Rollout).spec.strategy.canary.steps
    faults: list[str] = []
    steps: list[Step] = []
    weight = -1
    for number, spec in enumerate(specs):
        place = (*_STEPS, number)
        try:
            step = _step(spec, read)
        except ValueError as error:
            faults.append(f"{place_of(path, place, lines)}: {error}")
            continue
        if isinstance(step, SetWeight):
            if step.weight <= weight:
                where = place_of(path, (*place, "setWeight"), lines)
                faults.append(f"{where}: weights must rise, found {step.weight} after {weight}")
            weight = max(weight, step.weight)
        steps.append(step)
    if not any(spec.analysis for spec in specs):
        faults.append(f"{place_of(path, _STEPS, lines)}: no analysis step: nothing would decide about the canary")
    if faults:
        raise ValidationErrors(str(path), faults, remedy=REMEDY)
    return CanaryPlan(path, tuple(steps))


def _step(spec: StepSpec, read: Callable[..., Parameters]) -> Step:
    """The step; ValueError for one that is not exactly one thing to do, or has parameters that are not valid."""
    if len(spec.model_fields_set) != 1:
        raise ValueError("a step is exactly one of setWeight, setCanaryScale, pause, analysis")
    if spec.setWeight is not None:
        return SetWeight(spec.setWeight)
    if spec.setCanaryScale is not None:
        if len(spec.setCanaryScale.model_fields_set) != 1:
            raise ValueError("setCanaryScale is exactly one of replicas, weight, matchTrafficWeight")
        return SetCanaryScale()
    if spec.pause is not None:
        return PauseStep(parse_duration(spec.pause.duration))
    if spec.analysis is not None:
        name = spec.analysis.templates[0].templateName
        return AnalysisStep(name, read(name, spec.analysis.args))
    raise ValueError("the step is empty")
