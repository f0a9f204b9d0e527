"""Runs of the pipeline: found by recipe, started once, split into steps.

SageMaker itself is the record of runs: the name of a run contains its recipe, so that any machine finds it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sluice.core.digests import digest_of
from sluice.extras.sagemaker.aws_clients import asking

_DIGITS = 16
_UNDER_WAY = ("Executing", "Stopping")
# The step that the condition leads to when a gate said no (pipelines/sagemaker.py).
REFUSED = "Refused"


@dataclass(frozen=True)
class Execution:
    """`status`: Executing, Stopping, Stopped, Failed or Succeeded, in SageMaker's words."""

    arn: str
    status: str
    reason: str = ""

    @property
    def under_way(self) -> bool:
        return self.status in _UNDER_WAY

    @property
    def id(self) -> str:
        return self.arn.rpartition("/")[2]


@dataclass(frozen=True)
class ExecutionStep:
    """`job`: ARN of what the step started, a job or a model package; empty before it has."""

    name: str
    status: str
    reason: str
    job: str
    began: datetime | None
    ended: datetime | None

    @property
    def job_name(self) -> str:
        return self.job.rpartition("/")[2]

    @property
    def seconds(self) -> float:
        """So far, or in all."""
        return ((self.ended or datetime.now(UTC)) - self.began).total_seconds() if self.began else 0.0


def find(sagemaker: Any, pipeline: str, recipe: str) -> list[Execution]:
    """The runs of a recipe, the newest first; none where the pipeline was never made."""
    found = []
    with asking(f"pipeline {pipeline}"):
        try:
            pages = sagemaker.get_paginator("list_pipeline_executions")
            for page in pages.paginate(PipelineName=pipeline, SortOrder="Descending"):
                found += page["PipelineExecutionSummaries"]
        except sagemaker.exceptions.ResourceNotFound:
            return []
    mine = [one for one in found if str(one.get("PipelineExecutionDisplayName", "")).startswith(_name(recipe))]
    mine.sort(key=lambda one: one["StartTime"], reverse=True)
    return [Execution(one["PipelineExecutionArn"], one["PipelineExecutionStatus"]) for one in mine]


def start(sagemaker: Any, pipeline: str, recipe: str, parameters: Mapping[str, str], *, attempt: int) -> Execution:
    """Starts a run. `attempt`: how many of this recipe there were; the same one, asked for twice, is one run."""
    token = digest_of([pipeline, recipe, attempt])
    with asking(f"pipeline {pipeline}"):
        answer = sagemaker.start_pipeline_execution(
            PipelineName=pipeline,
            PipelineExecutionDisplayName=f"{_name(recipe)}-{attempt}",
            PipelineParameters=[{"Name": name, "Value": value} for name, value in parameters.items()],
            ClientRequestToken=token,
        )
    return Execution(answer["PipelineExecutionArn"], "Executing")


@dataclass(frozen=True)
class PipelineRun:
    """A run that is followed (`watch.follow`)."""

    sagemaker: Any
    arn: str

    def look(self) -> tuple[Execution, list[ExecutionStep]]:
        """As it is now."""
        with asking(self.arn):
            answer = self.sagemaker.describe_pipeline_execution(PipelineExecutionArn=self.arn)
        found = Execution(self.arn, answer["PipelineExecutionStatus"], answer.get("FailureReason", ""))
        return found, steps_of(self.sagemaker, self.arn)

    def stop(self) -> None:
        """Asks SageMaker to end it; jobs that are under way end with it."""
        token = digest_of([self.arn, "stop"])
        with asking(self.arn):
            self.sagemaker.stop_pipeline_execution(PipelineExecutionArn=self.arn, ClientRequestToken=token)


def steps_of(sagemaker: Any, arn: str) -> list[ExecutionStep]:
    """In the order they began in."""
    found: list[dict[str, Any]] = []
    with asking(arn):
        pages = sagemaker.get_paginator("list_pipeline_execution_steps")
        for page in pages.paginate(PipelineExecutionArn=arn, SortOrder="Ascending"):
            found += page["PipelineExecutionSteps"]
    return [
        ExecutionStep(
            one["StepName"],
            one["StepStatus"],
            one.get("FailureReason", ""),
            next((str(held["Arn"]) for held in one.get("Metadata", {}).values() if "Arn" in held), ""),
            one.get("StartTime"),
            one.get("EndTime"),
        )
        for one in found
    ]


def _name(recipe: str) -> str:
    return f"recipe-{recipe[:_DIGITS]}"
