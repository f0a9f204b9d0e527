"""Follows a run until it has ended: its steps, their logs, and what it has cost so far, which ends it at the budget."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from sluice.cloud import cost
from sluice.cloud.aws import asking
from sluice.cloud.executions import Execution, Step, describe, steps_of, stop
from sluice.cloud.settings import SageMakerSettings
from sluice.core.errors import SluiceError

Say = Callable[[str], None]
_GROUPS = {"processing-job": "/aws/sagemaker/ProcessingJobs", "training-job": "/aws/sagemaker/TrainingJobs"}


def follow(sagemaker: Any, logs: Any, settings: SageMakerSettings, arn: str, say: Say) -> tuple[Execution, list[Step]]:
    """Says what is new, a line each, until the run has ended; returns it with its steps.

    SluiceError when it was stopped at the budget. Interrupted, the run goes on: to follow it again is to call this
    again, which says everything from the start.
    """
    seen: dict[str, str] = {}
    reader = LogReader(logs)
    stopped = False
    while True:
        run, steps = describe(sagemaker, arn), steps_of(sagemaker, arn)
        for step in steps:
            for line in reader.lines(step):
                say(f"{step.name:<9} {line}")
            if seen.get(step.name) != step.status:
                seen[step.name] = step.status
                say(f"{step.name:<9} -- {step.status.lower()}{f': {step.reason}' if step.reason else ''}")
        if not run.under_way:
            if stopped:
                raise SluiceError(
                    f"{arn}: stopped at ${_so_far(settings, steps):.2f}: budget_usd is {settings.budget_usd:.2f}",
                    remedy="raise it in config/sagemaker.yaml and run the same command: training goes on from its"
                    " last checkpoint",
                )
            return run, steps
        if not stopped and _so_far(settings, steps) > settings.budget_usd:
            say(f"the budget of ${settings.budget_usd:.2f} is used up: stopping the run")
            stop(sagemaker, arn)
            stopped = True
        time.sleep(settings.poll_seconds)


def _so_far(settings: SageMakerSettings, steps: list[Step]) -> float:
    return cost.used(settings, ((step.name, step.seconds) for step in steps))


def billed(sagemaker: Any, steps: list[Step]) -> list[tuple[str, float]]:
    """Name of each step and the seconds billed for on each machine: of a spot machine less than it ran."""
    found = []
    for step in steps:
        kind = _kind(step)
        with asking(step.job):
            if kind == "training-job":
                job = sagemaker.describe_training_job(TrainingJobName=step.job_name)
                seconds = job.get("BillableTimeInSeconds", job.get("TrainingTimeInSeconds", step.seconds))
            elif kind == "processing-job":
                job = sagemaker.describe_processing_job(ProcessingJobName=step.job_name)
                began, ended = job.get("ProcessingStartTime"), job.get("ProcessingEndTime")
                seconds = (ended - began).total_seconds() if began and ended else step.seconds
            else:
                continue
        found.append((step.name, float(seconds)))
    return found


def _kind(step: Step) -> str:
    """`processing-job`, `training-job`, `model-package`, or empty: the type of the resource in its ARN."""
    return step.job.rpartition(":")[2].partition("/")[0]


class LogReader:
    """What jobs have written since the last look. A job has a stream for each machine, none before its first line."""

    def __init__(self, logs: Any) -> None:
        self._logs = logs
        self._tokens: dict[str, str] = {}
        self._refused = ""

    def lines(self, step: Step) -> Iterator[str]:
        group = _GROUPS.get(_kind(step))
        if group is None or self._refused:
            return
        try:
            for stream in self._streams(group, step.job_name):
                yield from self._events(group, stream)
        except SluiceError as error:  # the run does not depend on who may read along
            self._refused = error.message
            yield f"(its log cannot be read: {error.message})"

    def _streams(self, group: str, job: str) -> list[str]:
        with asking(group):
            try:
                answer = self._logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=f"{job}/")
            except self._logs.exceptions.ResourceNotFoundException:
                return []
        return [one["logStreamName"] for one in answer["logStreams"]]

    def _events(self, group: str, stream: str) -> Iterator[str]:
        while True:
            held = self._tokens.get(stream)
            more = {"nextToken": held} if held else {}
            with asking(group):
                answer = self._logs.get_log_events(logGroupName=group, logStreamName=stream, startFromHead=True, **more)
            yield from (event["message"].rstrip() for event in answer["events"])
            self._tokens[stream] = answer["nextForwardToken"]
            if answer["nextForwardToken"] == held:
                return
