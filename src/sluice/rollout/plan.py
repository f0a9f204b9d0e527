"""Reads k8s/base/rollout.yaml, the only description of the canary, as the steps that a rehearsal walks.

Argo Rollouts knows many more fields than this project uses. What is read here is exactly the subset that the rehearsal
runs as a cluster would; any other field is refused by name with its line, so that a rehearsal never skips what the
cluster would do. The load of an analysis step comes from the argument defaults of k8s/analysis/<template>.yaml.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import Field, ValidationError

from sluice.core.errors import Faults, SluiceError
from sluice.core.settings import Settings, nearest, read_yaml

# Templates that a rehearsal can run; each is k8s/analysis/<name>.yaml.
TEMPLATES = ("load",)
SHAPES = ("steady", "staircase")
_REMEDY = "docs/reference/rollout.md lists what the rehearsal runs; remove the rest, or teach the rehearsal first"
_DURATION = re.compile(r"(?=\d)(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
_MAPPING = dict[str, Any]


@dataclass(frozen=True)
class LoadParameters:
    """One load stage: `users` of whom one sends paired probes, for `seconds`, an answer may take `answer_timeout_s`."""

    users: int
    seconds: float
    shape: str
    answer_timeout_s: float


@dataclass(frozen=True)
class SetWeight:
    """The canary gets `weight` percent of the visitors."""

    kind: ClassVar[Literal["setWeight"]] = "setWeight"
    weight: int


@dataclass(frozen=True)
class Pause:
    """Visitors only, for `seconds`."""

    kind: ClassVar[Literal["pause"]] = "pause"
    seconds: float


@dataclass(frozen=True)
class Analysis:
    """A load stage that decides whether the canary goes on."""

    kind: ClassVar[Literal["analysis"]] = "analysis"
    template: str
    load: LoadParameters

    @property
    def seconds(self) -> float:
        return self.load.seconds


Step = SetWeight | Pause | Analysis


@dataclass(frozen=True)
class Plan:
    """The canary steps in order. After the last one the canary takes all visitors."""

    path: Path
    steps: tuple[Step, ...]

    @property
    def seconds(self) -> float:
        """Planned time of all pauses and load stages, unscaled."""
        return sum(step.seconds for step in self.steps if not isinstance(step, SetWeight))


class _Metadata(Settings):
    name: str
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)


class _PauseSpec(Settings):
    duration: str | int


class _TemplateRef(Settings):
    templateName: str  # noqa: N815 (the field names in this file are Argo's)


class _Arg(Settings):
    name: str
    value: str


class _AnalysisSpec(Settings):
    templates: Annotated[tuple[_TemplateRef, ...], Field(min_length=1, max_length=1)]
    args: tuple[_Arg, ...] = ()


class _StepSpec(Settings):
    setWeight: Annotated[int, Field(strict=True, ge=0, le=100)] | None = None  # noqa: N815
    pause: _PauseSpec | None = None
    analysis: _AnalysisSpec | None = None


class _Traefik(Settings):
    weightedTraefikServiceName: str  # noqa: N815


class _TrafficRouting(Settings):
    traefik: _Traefik


class _Canary(Settings):
    stableService: str  # noqa: N815
    canaryService: str  # noqa: N815
    trafficRouting: _TrafficRouting  # noqa: N815
    steps: tuple[_StepSpec, ...]


class _Strategy(Settings):
    canary: _Canary


class _RolloutSpec(Settings):
    # Pods and their number are the cluster's business: the rehearsal starts one process of each release.
    replicas: int = 1
    revisionHistoryLimit: int = 10  # noqa: N815
    minReadySeconds: int = 0  # noqa: N815
    progressDeadlineSeconds: int = 600  # noqa: N815
    selector: _MAPPING
    template: _MAPPING
    strategy: _Strategy


class _Rollout(Settings):
    apiVersion: Literal["argoproj.io/v1alpha1"]  # noqa: N815
    kind: Literal["Rollout"]
    metadata: _Metadata
    spec: _RolloutSpec


class _Job(Settings):
    metadata: _MAPPING = Field(default_factory=dict)
    spec: _MAPPING


class _Provider(Settings):
    job: _Job


class _Metric(Settings):
    name: str
    failureLimit: Literal[0] = 0  # noqa: N815
    consecutiveErrorLimit: int = 4  # noqa: N815 (Jobs that could not be made: the cluster's business)
    provider: _Provider


class _TemplateSpec(Settings):
    args: tuple[_Arg, ...]
    metrics: Annotated[tuple[_Metric, ...], Field(min_length=1, max_length=1)]


class _AnalysisTemplate(Settings):
    apiVersion: Literal["argoproj.io/v1alpha1"]  # noqa: N815
    kind: Literal["AnalysisTemplate"]
    metadata: _Metadata
    spec: _TemplateSpec


M = TypeVar("M", bound=Settings)
_Lines = Mapping[tuple[str | int, ...], int]
_STEPS: tuple[str | int, ...] = ("spec", "strategy", "canary", "steps")


def parse_duration(text: str | int) -> float:
    """Seconds of "30s", "5m", "1h", "1h30m", or of a bare number of seconds. Raises ValueError for anything else."""
    text = str(text).strip()
    if text.isdecimal():
        return float(text)
    found = _DURATION.fullmatch(text)
    if not found:
        raise ValueError(f"{text!r} is not a duration such as 30s, 5m or 1h")
    hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return float(hours * 3600 + minutes * 60 + seconds)


def load_plan(path: Path) -> Plan:
    """Reads a Rollout, and the AnalysisTemplates it names from ../analysis/. All faults are raised at once, each as
    `path:line: where: what`."""
    document, lines = read_yaml(path)
    specs = _validate(path, document, lines, _Rollout).spec.strategy.canary.steps
    faults: list[str] = []
    steps: list[Step] = []
    weight = -1
    for number, spec in enumerate(specs):
        place = (*_STEPS, number)
        step = _step(path, spec, place, lines, faults)
        if isinstance(step, SetWeight):
            if step.weight <= weight:
                faults.append(
                    f"{_at(path, (*place, 'setWeight'), lines)}: weights must rise, found {step.weight} after {weight}"
                )
            weight = max(weight, step.weight)
        if step is not None:
            steps.append(step)
    if not any(spec.analysis for spec in specs):
        faults.append(f"{_at(path, _STEPS, lines)}: no analysis step: nothing would decide about the canary")
    if faults:
        raise Faults(str(path), faults, remedy=_REMEDY)
    return Plan(path, tuple(steps))


def _step(path: Path, spec: _StepSpec, place: tuple[str | int, ...], lines: _Lines, faults: list[str]) -> Step | None:
    """The step, or None after adding to `faults`."""
    if len(spec.model_fields_set) != 1:
        faults.append(f"{_at(path, place, lines)}: a step is exactly one of setWeight, pause, analysis")
        return None
    if spec.setWeight is not None:
        return SetWeight(spec.setWeight)
    try:
        if spec.pause is not None:
            return Pause(parse_duration(spec.pause.duration))
        if spec.analysis is not None:
            name = spec.analysis.templates[0].templateName
            if name not in TEMPLATES:
                raise ValueError(
                    f"template {name!r} is not one that the rehearsal can run{nearest(name, [*TEMPLATES])}"
                )
            return Analysis(
                name, _load_parameters(path.parent.parent / "analysis" / f"{name}.yaml", spec.analysis.args)
            )
    except ValueError as error:
        faults.append(f"{_at(path, place, lines)}: {error}")
        return None
    faults.append(f"{_at(path, place, lines)}: the step is empty")
    return None


def _load_parameters(path: Path, overrides: tuple[_Arg, ...]) -> LoadParameters:
    """The template's defaults with the step's own arguments over them. Raises ValueError for a bad argument."""
    document, lines = read_yaml(path)
    values = {arg.name: arg.value for arg in _validate(path, document, lines, _AnalysisTemplate).spec.args}
    for arg in overrides:
        if arg.name not in values:
            raise ValueError(f"args: {path} declares no argument {arg.name!r}{nearest(arg.name, list(values))}")
        values[arg.name] = arg.value
    if missing := [name for name in ("users", "duration", "shape", "answer-timeout") if name not in values]:
        raise SluiceError(f"{path}:{lines.get(('spec', 'args'), 1)}: no argument {missing[0]!r}", remedy=_REMEDY)
    if not values["users"].isdecimal() or int(values["users"]) < 2:
        raise ValueError(f"users is {values['users']!r}, at least 2 are needed: one for paired probes, one visitor")
    if values["shape"] not in SHAPES:
        raise ValueError(f"shape {values['shape']!r} is not in loadtest/shapes/{nearest(values['shape'], [*SHAPES])}")
    seconds, answer = parse_duration(values["duration"]), parse_duration(values["answer-timeout"])
    if seconds <= 0 or answer <= 0:
        raise ValueError("duration and answer-timeout must be above zero")
    return LoadParameters(int(values["users"]), seconds, values["shape"], answer)


def _validate(path: Path, document: Any, lines: _Lines, model: type[M]) -> M:
    try:
        return model.model_validate(document if document is not None else {})
    except ValidationError as error:
        faults = []
        for fault in error.errors():
            what = "not supported by the rehearsal" if fault["type"] == "extra_forbidden" else fault["msg"]
            faults.append(f"{_at(path, fault['loc'], lines)}: {what}")
        raise Faults(str(path), faults, remedy=_REMEDY) from None


def _at(path: Path, place: tuple[str | int, ...], lines: _Lines) -> str:
    known = place
    while known and known not in lines:
        known = known[:-1]
    return f"{path}:{lines.get(known, 1)}: {'.'.join(str(part) for part in place)}"
