"""The fields of Argo's Rollout and AnalysisTemplate that this project uses; others are rejected by name and line."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from sluice.core.settings import Settings

REMEDY = "engine/docs/reference/rollout.md lists what the rehearsal runs; remove the rest, or teach the rehearsal first"
# What a cluster checks by its own schemas.
_MAPPING = dict[str, Any]


class PauseSpec(Settings):
    duration: str | int | None = None  # None: until a person promotes the Rollout


class CanaryScale(Settings):
    replicas: Annotated[int, Field(strict=True, ge=1)] | None = None
    weight: Annotated[int, Field(strict=True, ge=1, le=100)] | None = None
    matchTrafficWeight: Literal[True] | None = None  # noqa: N815 (the field names in this file are Argo's)


class TemplateRef(Settings):
    templateName: str  # noqa: N815
    clusterScope: bool = False  # noqa: N815 (a ClusterAnalysisTemplate, which only a cluster has)


class TemplateArgument(Settings):
    name: str
    value: str


class StepArg(Settings):
    """An argument of a step: a value, or the hash of a release's pods, which only a cluster has."""

    name: str
    value: str | None = None
    valueFrom: _MAPPING | None = None  # noqa: N815

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.value is None) is (self.valueFrom is None):
            raise ValueError("either value or valueFrom")
        return self


class AnalysisSpec(Settings):
    # Argo runs several templates of a step side by side; here each would disturb the other's times.
    templates: Annotated[tuple[TemplateRef, ...], Field(min_length=1, max_length=1)]
    args: tuple[StepArg, ...] = ()


class StepSpec(Settings):
    setWeight: Annotated[int, Field(strict=True, ge=0, le=100)] | None = None  # noqa: N815
    setCanaryScale: CanaryScale | None = None  # noqa: N815
    pause: PauseSpec | None = None
    analysis: AnalysisSpec | None = None


class _CanaryStrategy(Settings):
    stableService: str  # noqa: N815
    canaryService: str  # noqa: N815
    trafficRouting: _MAPPING  # noqa: N815
    minPodsPerReplicaSet: int = 1  # noqa: N815
    steps: tuple[StepSpec, ...]


class _Strategy(Settings):
    canary: _CanaryStrategy


class _RolloutSpec(Settings):
    # Pods and their number are the cluster's business: the rehearsal starts one process of each release.
    replicas: int = 1
    revisionHistoryLimit: int = 10  # noqa: N815
    minReadySeconds: int = 0  # noqa: N815
    progressDeadlineSeconds: int = 600  # noqa: N815
    progressDeadlineAbort: bool = False  # noqa: N815
    selector: _MAPPING
    template: _MAPPING
    strategy: _Strategy


class Rollout(Settings):
    apiVersion: Literal["argoproj.io/v1alpha1"]  # noqa: N815
    kind: Literal["Rollout"]
    metadata: _MAPPING
    spec: _RolloutSpec


class _MetricProvider(Settings):
    job: _MAPPING


class _AnalysisMetric(Settings):
    name: str
    failureLimit: Literal[0] = 0  # noqa: N815
    consecutiveErrorLimit: int = 4  # noqa: N815 (Jobs that could not be made: the cluster's business)
    provider: _MetricProvider


class _TemplateSpec(Settings):
    args: tuple[TemplateArgument, ...]
    metrics: Annotated[tuple[_AnalysisMetric, ...], Field(min_length=1, max_length=1)]


class AnalysisTemplate(Settings):
    apiVersion: Literal["argoproj.io/v1alpha1"]  # noqa: N815
    kind: Literal["AnalysisTemplate"]
    metadata: _MAPPING
    spec: _TemplateSpec
