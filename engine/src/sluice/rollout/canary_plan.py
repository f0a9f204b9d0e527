"""Parses k8s/base/rollout.yaml into the steps of a rehearsal; fields that it can't run are refused with their line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from sluice.core.errors import ValidationErrors
from sluice.core.settings import Place, place_of, read_yaml, validated
from sluice.rollout.analysis_templates import (
    LoadParameters,
    Parameters,
    QualityParameters,
    known_shapes,
    parse_duration,
    read_parameters,
)
from sluice.rollout.argo_models import REMEDY, Rollout, StepSpec

# Below the repository, whose canary is described in k8s/base/rollout.yaml.
TEMPLATES = Path("engine", "k8s", "analysis")
_STEPS: Place = ("spec", "strategy", "canary", "steps")


@dataclass(frozen=True)
class Step:
    """A step. `seconds` are of a pause or an analysis, `weight` is of setWeight, the rest of an analysis.

    `only_in_cluster` says what of it a rehearsal leaves out."""

    kind: Literal["setWeight", "setCanaryScale", "pause", "analysis"]
    seconds: float = 0.0
    weight: int | None = None
    template: str = ""
    parameters: Parameters | None = None
    only_in_cluster: str = ""

    @classmethod
    def analysis(cls, template: str, parameters: Parameters) -> Step:
        # Compared answers take about a second each on a laptop.
        seconds = parameters.seconds if isinstance(parameters, LoadParameters) else float(parameters.cases)
        return cls("analysis", seconds, template=template, parameters=parameters)

    def fitted(self, time_scale: float, cases: int) -> Step:
        """Return the step as one machine walks it."""
        match self.parameters:
            case LoadParameters(seconds=seconds) as load:
                return self.analysis(self.template, replace(load, seconds=seconds * time_scale))
            case QualityParameters() as quality:
                return self.analysis(self.template, replace(quality, cases=cases or quality.cases))
        return replace(self, seconds=self.seconds * time_scale)


@dataclass(frozen=True)
class CanaryPlan:
    """The canary steps in order. After the last one the canary takes all visitors."""

    path: Path
    steps: tuple[Step, ...]

    @property
    def seconds(self) -> float:
        return sum(step.seconds for step in self.steps)

    def fitted(self, *, time_scale: float, cases: int = 0) -> CanaryPlan:
        """Return the plan as one machine walks it."""
        return replace(self, steps=tuple(step.fitted(time_scale, cases) for step in self.steps))


def load_plan(path: Path, root: Path | None = None) -> CanaryPlan:
    """Read a Rollout and the AnalysisTemplates it names."""
    checkout = path.parents[2]
    read = partial(read_parameters, (root or checkout) / TEMPLATES, shapes=known_shapes(checkout))
    document, lines = read_yaml(path)
    specs = validated(path, document or {}, lines, Rollout, remedy=REMEDY).spec.strategy.canary.steps
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
        if step.weight is not None:
            if step.weight <= weight:
                where = place_of(path, (*place, "setWeight"), lines)
                faults.append(f"{where}: weights must rise, found {step.weight} after {weight}")
            weight = max(weight, step.weight)
        steps.append(step)
    if not faults and not any(step.parameters for step in steps):
        nothing = "no analysis step that the rehearsal can run: nothing would decide about the canary"
        faults.append(f"{place_of(path, _STEPS, lines)}: {nothing}")
    if faults:
        raise ValidationErrors(str(path), faults, remedy=REMEDY)
    return CanaryPlan(path, tuple(steps))


def _step(spec: StepSpec, read: Callable[..., Parameters]) -> Step:
    if len(spec.model_fields_set) != 1:
        raise ValueError("a step is exactly one of setWeight, setCanaryScale, pause, analysis")
    if spec.setWeight is not None:
        return Step("setWeight", weight=spec.setWeight)
    if spec.setCanaryScale is not None:
        if len(spec.setCanaryScale.model_fields_set) != 1:
            raise ValueError("setCanaryScale is exactly one of replicas, weight, matchTrafficWeight")
        return Step("setCanaryScale")  # a number of pods, which means nothing to a rehearsal
    if spec.pause is not None:
        if spec.pause.duration is None:
            return Step("pause", only_in_cluster="the pause in which a person decides")
        return Step("pause", parse_duration(spec.pause.duration))
    if spec.analysis is not None:
        name = spec.analysis.templates[0].templateName
        if spec.analysis.templates[0].clusterScope:
            return Step("analysis", template=name, only_in_cluster=f"the ClusterAnalysisTemplate {name}")
        return Step.analysis(name, read(name, spec.analysis.args))
    raise ValueError("the step is empty")
