"""Follows a run to its end: steps, logs and cost so far; stops it at the budget."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from sluice.core.errors import SluiceError
from sluice.extras.sagemaker import run_cost
from sluice.extras.sagemaker.aws_clients import asking
from sluice.extras.sagemaker.executions import Execution, ExecutionStep, PipelineRun
from sluice.extras.sagemaker.settings import JobSettings, SageMakerSettings

Say = Callable[[str], None]
_GROUPS = {"processing-job": "/aws/sagemaker/ProcessingJobs", "training-job": "/aws/sagemaker/TrainingJobs"}


def follow(
    logs: Any,
    settings: SageMakerSettings,
    watched: PipelineRun,
    machines: Mapping[str, JobSettings],
    say: Say,
    *,
    again: str,
) -> tuple[Execution, list[ExecutionStep]]:
    """Says what is new, a line each, until the run has ended; returns it with its steps. `machines`: by name of step.

    SluiceError when it was stopped at the budget; `again`: what a run after that does. Interrupted, the run goes on: to
    follow it again is to call this again, which says everything from the start.
    """

    def so_far() -> float:
        return run_cost.used(settings, machines, billed(watched.sagemaker, steps))

    seen: dict[str, str] = {}
    reader = LogReader(logs)
    stopped = False
    while True:
        run, steps = watched.look()
        for step in steps:
            for line in reader.lines(step):
                say(f"{step.name:<9} {line}")
            if seen.get(step.name) != step.status:
                seen[step.name] = step.status
                say(f"{step.name:<9} -- {step.status.lower()}{f': {step.reason}' if step.reason else ''}")
        if not run.under_way:
            if stopped:
                raise SluiceError(
                    f"{run.arn}: stopped at ${so_far():.2f}: budget_usd is {settings.budget_usd:.2f}",
                    remedy=f"raise it in config/sagemaker.yaml and run the same command: {again}",
                )
            return run, steps
        if not stopped and so_far() > settings.budget_usd:
            say(f"the budget of ${settings.budget_usd:.2f} is used up: stopping the run")
            watched.stop()
            stopped = True
        time.sleep(settings.poll_seconds)


def billed(sagemaker: Any, steps: list[ExecutionStep]) -> list[tuple[str, float]]:
    """Name of each step and the seconds billed for on each machine, so far or in all.

    Nothing is billed while a job waits for its machine: "You are billed for the time interval between this time and the
    value of TrainingEndTime", says AWS's model of TrainingStartTime.
    """
    found = []
    for step in steps:
        kind = _kind(step)
        with asking(step.job):
            if kind == "training-job":
                job = sagemaker.describe_training_job(TrainingJobName=step.job_name)
                seconds = (
                    job.get("BillableTimeInSeconds") or job.get("TrainingTimeInSeconds") or _between(job, "Training")
                )
            elif kind == "processing-job":
                job = sagemaker.describe_processing_job(ProcessingJobName=step.job_name)
                seconds = _between(job, "Processing")
            else:
                continue
        found.append((step.name, float(seconds)))
    return found


def _between(job: Mapping[str, Any], what: str) -> float:
    began, ended = job.get(f"{what}StartTime"), job.get(f"{what}EndTime")
    return ((ended or datetime.now(UTC)) - began).total_seconds() if began else 0.0


def _kind(step: ExecutionStep) -> str:
    """`processing-job`, `training-job`, `model-package`, or empty: the type of the resource in its ARN."""
    return step.job.rpartition(":")[2].partition("/")[0]


class LogReader:
    """What jobs have written since the last look. A job has a stream for each machine, none before its first line."""

    def __init__(self, logs: Any) -> None:
        self._logs = logs
        self._tokens: dict[str, str] = {}
        self._refused = ""

    def lines(self, step: ExecutionStep) -> Iterator[str]:
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
                pages = self._logs.get_paginator("describe_log_streams").paginate(
                    logGroupName=group, logStreamNamePrefix=f"{job}/"
                )
                return [one["logStreamName"] for page in pages for one in page["logStreams"]]
            except self._logs.exceptions.ResourceNotFoundException:
                return []

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
