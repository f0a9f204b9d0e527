"""SageMaker processing jobs that share a corpus; each machine embeds its shard of the documents.

The name of a job contains its recipe, the number of machines and of the attempt, and SageMaker accepts no name twice:
so any machine finds it again, and two concurrent starts start one. All attempts of a recipe on the same number of
machines write below one prefix of the bucket, so that an attempt continues the previous one.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sluice.extras.sagemaker.account import AwsAccount
from sluice.extras.sagemaker.aws_clients import asking, look_up
from sluice.extras.sagemaker.executions import Execution, ExecutionStep
from sluice.extras.sagemaker.settings import EmbedJob, JobSettings
from sluice.retrieval.sharding import DONE, CorpusShard

STEP = "Embed"
SCRIPT = "pipelines/container/job.py"
_DIGITS = 16
_FOLDER = "/opt/ml/processing"
_WORDS = {"InProgress": "Executing", "Completed": "Succeeded"}  # of a job to those of a run


@dataclass(frozen=True)
class ProcessingJob:
    """One job, as something that is followed (`watch.follow`)."""

    sagemaker: Any
    name: str

    def look(self) -> tuple[Execution, list[ExecutionStep]]:
        with asking(self.name):
            job = self.sagemaker.describe_processing_job(ProcessingJobName=self.name)
        status = _WORDS.get(job["ProcessingJobStatus"], job["ProcessingJobStatus"])
        # The job's own words first: SageMaker's reason is often no more than an exit code.
        reason = job.get("ExitMessage") or job.get("FailureReason", "")
        began, ended = job.get("ProcessingStartTime"), job.get("ProcessingEndTime")
        step = ExecutionStep(STEP, status, reason, job["ProcessingJobArn"], began, ended)
        return Execution(job["ProcessingJobArn"], status, reason), [step]

    def stop(self) -> None:
        with asking(self.name):
            self.sagemaker.stop_processing_job(ProcessingJobName=self.name)


@dataclass(frozen=True)
class EmbeddingRun:
    """The corpus of a recipe, embedded by so many machines."""

    account: AwsAccount
    spec: EmbedJob
    recipe: str
    workers: int

    @property
    def place(self) -> str:
        """Address of the folder of all shards."""
        return self.account.settings.uri("vectors", self.recipe[: _DIGITS * 2], str(self.workers))

    def attempt(self, number: int) -> ProcessingJob:
        return ProcessingJob(
            self.account.sagemaker, f"{self.spec.name}-{self.recipe[:_DIGITS]}-{self.workers}-{number}"
        )

    def attempts(self) -> list[ProcessingJob]:
        """Those that there were, in order."""
        found: list[ProcessingJob] = []
        while True:
            tried = self.attempt(len(found))
            with asking(tried.name):
                if look_up(self.account.sagemaker.describe_processing_job, ProcessingJobName=tried.name) is None:
                    return found
            found.append(tried)

    def missing(self) -> list[int]:
        """Numbers of the shards that are not done."""
        there = set(self._keys())
        shards = (CorpusShard(number, self.workers) for number in range(1, self.workers + 1))
        return [shard.number for shard in shards if f"{shard.folder}/{DONE}" not in there]

    def _keys(self) -> list[str]:
        """Of objects, below the folder of all shards."""
        settings = self.account.settings
        prefix = self.place.removeprefix(f"s3://{settings.bucket}/") + "/"
        with asking(self.place):
            pages = self.account.s3.get_paginator("list_objects_v2").paginate(Bucket=settings.bucket, Prefix=prefix)
            return [one["Key"].removeprefix(prefix) for page in pages for one in page.get("Contents", ())]

    def start(self, number: int, machines: JobSettings, channels: Mapping[str, str]) -> ProcessingJob:
        """Starts the attempt, unless another has just done so. `channels`: name to address, each whole on every
        machine; what earlier attempts have embedded is one more."""
        made = self.attempt(number)
        given = dict(channels) | ({"vectors": f"{self.place}/"} if self._keys() else {})
        sagemaker = self.account.sagemaker
        with asking(made.name), suppress(sagemaker.exceptions.ResourceInUse):
            sagemaker.create_processing_job(ProcessingJobName=made.name, **self._job(machines, given))
        return made

    def _job(self, machines: JobSettings, channels: Mapping[str, str]) -> dict[str, Any]:
        settings = self.account.settings
        cluster = {
            "InstanceCount": machines.instances,
            "InstanceType": machines.instance_type,
            "VolumeSizeInGB": machines.volume_gb,
        }
        # Continuous: of a machine that is lost, what it has finished is there.
        s3 = {"S3Uri": self.place, "LocalPath": f"{_FOLDER}/output/vectors", "S3UploadMode": "Continuous"}
        return {
            "RoleArn": settings.role,
            "AppSpecification": {
                "ImageUri": settings.image,
                "ContainerEntrypoint": ["python3", f"{_FOLDER}/input/code/{SCRIPT.rpartition('/')[2]}"],
                "ContainerArguments": ["--stage", STEP.lower()],
            },
            "ProcessingResources": {"ClusterConfig": cluster},
            "StoppingCondition": {"MaxRuntimeInSeconds": machines.max_minutes * 60},
            "ProcessingInputs": [_input(name, uri) for name, uri in channels.items()],
            "ProcessingOutputConfig": {"Outputs": [{"OutputName": "vectors", "S3Output": s3}]},
        }


def _input(name: str, uri: str) -> dict[str, Any]:
    return {
        "InputName": name,
        "S3Input": {
            "S3Uri": uri,
            "LocalPath": f"{_FOLDER}/input/{name}",
            "S3DataType": "S3Prefix",
            "S3InputMode": "File",
            "S3DataDistributionType": "FullyReplicated",
        },
    }
