"""Runs of the pipeline, which SageMaker keeps by the recipe in their name, and their cost.

Costs are US dollars by the prices on demand in config/sagemaker.yaml. A spot machine is billed for less time than it
ran, which is known at its end only; until then the whole time counts.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sluice.core.digests import digest_of
from sluice.core.errors import SluiceError
from sluice.extras.sagemaker.aws_clients import AwsAccount, Say, asking
from sluice.extras.sagemaker.settings import JobSettings, SageMakerSettings

AGAIN = "training goes on from its last checkpoint"
REFUSED = "Refused"  # the name of the step that follows if a gate failed
_DIGITS = 16
_UNDER_WAY = ("Executing", "Stopping")
_LOG_GROUPS = {"processing-job": "/aws/sagemaker/ProcessingJobs", "training-job": "/aws/sagemaker/TrainingJobs"}


@dataclass(frozen=True)
class Execution:
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
    """`job`: ARN of the job or model package that the step started, empty before it has."""

    name: str
    status: str
    reason: str
    job: str

    @property
    def job_name(self) -> str:
        return self.job.rpartition("/")[2]

    @property
    def kind(self) -> str:
        """The type of resource in the ARN, such as `training-job`."""
        return self.job.rpartition(":")[2].partition("/")[0]


def find(sagemaker: Any, pipeline: str, recipe: str) -> list[Execution]:
    """Return the runs of a recipe, the newest first; none if the pipeline was never made."""
    with asking(f"pipeline {pipeline}"):
        try:
            pages = sagemaker.get_paginator("list_pipeline_executions").paginate(PipelineName=pipeline)
            found = [one for page in pages for one in page["PipelineExecutionSummaries"]]
        except sagemaker.exceptions.ResourceNotFound:
            return []
    mine = [one for one in found if str(one.get("PipelineExecutionDisplayName", "")).startswith(_name(recipe))]
    mine.sort(key=lambda one: one["StartTime"], reverse=True)
    return [Execution(one["PipelineExecutionArn"], one["PipelineExecutionStatus"]) for one in mine]


def start(sagemaker: Any, pipeline: str, recipe: str, parameters: Mapping[str, str], *, attempt: int) -> Execution:
    """Start a run. `attempt` counts those of this recipe: the same one, started twice, is one run."""
    with asking(f"pipeline {pipeline}"):
        answer = sagemaker.start_pipeline_execution(
            PipelineName=pipeline,
            PipelineExecutionDisplayName=f"{_name(recipe)}-{attempt}",
            PipelineParameters=[{"Name": name, "Value": value} for name, value in parameters.items()],
            ClientRequestToken=digest_of([pipeline, recipe, attempt]),
        )
    return Execution(answer["PipelineExecutionArn"], "Executing")


def _name(recipe: str) -> str:
    return f"recipe-{recipe[:_DIGITS]}"


def steps_of(sagemaker: Any, arn: str) -> list[ExecutionStep]:
    with asking(arn):
        pages = sagemaker.get_paginator("list_pipeline_execution_steps")
        pages = pages.paginate(PipelineExecutionArn=arn, SortOrder="Ascending")
        found = [one for page in pages for one in page["PipelineExecutionSteps"]]
    return [
        ExecutionStep(
            one["StepName"],
            one["StepStatus"],
            one.get("FailureReason", ""),
            next((str(held["Arn"]) for held in one.get("Metadata", {}).values() if "Arn" in held), ""),
        )
        for one in found
    ]


def follow(account: AwsAccount, arn: str, say: Say) -> tuple[Execution, list[ExecutionStep]]:
    """Show logs and steps until the run has ended; return it with its steps.

    Raises SluiceError if it was stopped at the budget.
    """
    settings, seen, places, readable, stopped = account.settings, dict[str, str](), dict[str, str](), True, False
    while True:
        with asking(arn):
            answer = account.sagemaker.describe_pipeline_execution(PipelineExecutionArn=arn)
        run = Execution(arn, answer["PipelineExecutionStatus"], answer.get("FailureReason", ""))
        steps = steps_of(account.sagemaker, arn)
        for step in steps:
            try:
                for line in _new_lines(account.logs, step, places) if readable else ():
                    say(f"{step.name:<9} {line}")
            except SluiceError as error:  # no reason to stop following the run
                readable = False
                say(f"{step.name:<9} (its log cannot be read: {error.message})")
            if seen.get(step.name) != step.status:
                seen[step.name] = step.status
                say(f"{step.name:<9} -- {step.status.lower()}{f': {step.reason}' if step.reason else ''}")
        if not run.under_way and not stopped:
            return run, steps
        spent = used(settings, billed(account.sagemaker, steps))
        if not run.under_way:
            raise SluiceError(
                f"{arn}: stopped at ${spent:.2f}: budget_usd is {settings.budget_usd:.2f}",
                remedy=f"raise it in config/sagemaker.yaml and run the same command: {AGAIN}",
            )
        if not stopped and spent > settings.budget_usd:
            say(f"the budget of ${settings.budget_usd:.2f} is used up: stopping the run")
            with asking(arn):
                account.sagemaker.stop_pipeline_execution(
                    PipelineExecutionArn=arn, ClientRequestToken=digest_of([arn, "stop"])
                )
            stopped = True
        time.sleep(settings.poll_seconds)


def _new_lines(logs: Any, step: ExecutionStep, places: dict[str, str]) -> Iterator[str]:
    """Yield the lines after `places`, by stream. A job has a stream for each machine, none before its first line."""
    group = _LOG_GROUPS.get(step.kind)
    if group is None:
        return
    with asking(group):
        try:
            pages = logs.get_paginator("describe_log_streams")
            pages = pages.paginate(logGroupName=group, logStreamNamePrefix=f"{step.job_name}/")
            streams = [one["logStreamName"] for page in pages for one in page["logStreams"]]
        except logs.exceptions.ResourceNotFoundException:
            return
        for stream in streams:
            held = None
            while held is None or held != places[stream]:
                held = places.get(stream, "")
                more = {"nextToken": held} if held else {}
                answer = logs.get_log_events(logGroupName=group, logStreamName=stream, startFromHead=True, **more)
                yield from (event["message"].rstrip() for event in answer["events"])
                places[stream] = answer["nextForwardToken"]


def require_affordable(settings: SageMakerSettings, say: Say, *, watched: bool) -> None:
    """Say what a run is estimated to cost, and refuse one above the budget: an unwatched one isn't stopped there."""
    jobs, budget = _jobs(settings), settings.budget_usd
    expected = {name: _price(settings, job, job.expected_minutes * 60) for name, job in jobs.items()}
    total = sum(expected.values())
    at_most = sum(_price(settings, job, job.max_minutes * 60) for job in jobs.values())
    say(f"estimate  ${total:.2f} on demand, at most ${at_most:.2f}, budget ${budget:.2f}")
    for name, value in expected.items():
        say(f"  {name:<9} ${value:.2f}")
    if total > budget:
        raise SluiceError(
            f"config/sagemaker.yaml: a run is estimated at ${total:.2f}, above budget_usd {budget:.2f}",
            remedy="raise budget_usd, or take smaller machines or fewer minutes; nothing was started",
        )
    if not watched and at_most > budget:
        raise SluiceError(
            f"config/sagemaker.yaml: a run may cost ${at_most:.2f}, above budget_usd {budget:.2f},"
            " and nothing would stop it there",
            remedy="add --watch, or lower max_minutes; nothing was started",
        )


def used(settings: SageMakerSettings, seconds: Iterable[tuple[str, float]]) -> float:
    """Return the cost of steps by name and the billed seconds of each of their machines."""
    jobs = _jobs(settings)
    return sum(_price(settings, jobs[name], spent) for name, spent in seconds if name in jobs)


def billed(sagemaker: Any, steps: list[ExecutionStep]) -> list[tuple[str, float]]:
    """Return the name of each step and the seconds billed for each of its machines so far.

    Nothing is billed while a job waits for its machine: "You are billed for the time interval between this time and the
    value of TrainingEndTime", says AWS's model of TrainingStartTime.
    """
    found = []
    for step in steps:
        with asking(step.job):
            if step.kind == "training-job":
                job = sagemaker.describe_training_job(TrainingJobName=step.job_name)
                seconds = job.get("BillableTimeInSeconds") or job.get("TrainingTimeInSeconds")
                found.append((step.name, float(seconds or _between(job, "Training"))))
            elif step.kind == "processing-job":
                job = sagemaker.describe_processing_job(ProcessingJobName=step.job_name)
                found.append((step.name, _between(job, "Processing")))
    return found


def _between(job: Mapping[str, Any], what: str) -> float:
    began, ended = job.get(f"{what}StartTime"), job.get(f"{what}EndTime")
    return ((ended or datetime.now(UTC)) - began).total_seconds() if began else 0.0


def _jobs(settings: SageMakerSettings) -> dict[str, JobSettings]:
    """Return the jobs by the name of their step."""
    return {"Process": settings.jobs.process, "Train": settings.jobs.train, "Evaluate": settings.jobs.evaluate}


def _price(settings: SageMakerSettings, job: JobSettings, seconds: float) -> float:
    return settings.prices[job.instance_type] * job.instances * seconds / 3600
