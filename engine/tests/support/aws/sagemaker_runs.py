"""Runs of the pipeline in a played account: steps, and jobs, objects and log lines that boto3 makes in moto."""

import io
import json
import os
import re
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.aws.moto_server import aws_server
from support.aws.played_sagemaker import Look, Played

ROOT = Path(__file__).resolve().parents[4]
REGION, ACCOUNT, BUCKET = "eu-west-1", "123456789012", "sluice-artefacts-123456789012"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/sluice-sagemaker"
IMAGE = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/training@sha256:{'ab' * 32}"
SERVING_IMAGE = f"763104351884.dkr.ecr.{REGION}.amazonaws.com/vllm:0.30.0-gpu-py312-cu130-ubuntu24.04-sagemaker"
GROUP = "sluice-adapter"
MACHINES = {"InstanceCount": 1, "InstanceType": "ml.m5.xlarge", "VolumeSizeInGB": 30}
PROCESSING = "/opt/ml/processing/output"
TRAINING = {
    "base_sha256": "ba" * 32,
    "data_digest": "da" * 32,
    "parameters": {"rank": 16, "steps": 2},
    "seconds": 12.5,
    "tokens_per_second": 220.0,
    "loss": [[1, 2.5], [2, 1.5]],
    "samples": 4,
}


@contextmanager
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[Played]:
    """An account with the bucket. Clients of child processes reach moto's part of it."""
    import boto3

    with aws_server(monkeypatch, region=REGION):
        played = Played()
        played.register()
        boto3.client("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        yield played


def write_settings(config: Path, **changed: Any) -> dict[str, Any]:
    """Write the repository's config/sagemaker.yaml, filled in; `changed` replaces keys at the top."""
    settings: dict[str, Any] = yaml.safe_load((ROOT / "config" / "sagemaker.yaml").read_text())
    settings |= {"region": REGION, "role": ROLE, "bucket": BUCKET, "image": IMAGE, "poll_seconds": 0.01}
    settings |= {"prices": {"ml.m5.xlarge": 0.24}, **changed}
    config.mkdir(parents=True, exist_ok=True)
    (config / "sagemaker.yaml").write_text(yaml.safe_dump(settings))
    return settings


def jobs_with(**train: Any) -> dict[str, Any]:
    """Return the repository's `jobs:`, with these settings of the training job."""
    jobs: dict[str, Any] = yaml.safe_load((ROOT / "config" / "sagemaker.yaml").read_text())["jobs"]
    jobs["train"] |= train
    return jobs


def step(name: str, status: str, *, arn: str = "", reason: str = "") -> dict[str, Any]:
    kind = {"Train": "TrainingJob", "Register": "RegisterModel"}.get(name, "ProcessingJob")
    found: dict[str, Any] = {"StepName": name, "StepStatus": status}
    if reason:
        found["FailureReason"] = reason
    return found | ({"Metadata": {kind: {"Arn": arn}}} if arn else {})


@dataclass(frozen=True)
class Jobs:
    """ARNs of the jobs and the package of a run."""

    process: str
    train: str
    evaluate: str
    package: str

    def look(self, *, refused: str = "") -> Look:
        """Return the run at its end: registered, or refused by the gates."""
        steps = [
            step("Process", "Succeeded", arn=self.process),
            step("Train", "Succeeded", arn=self.train),
            step("Evaluate", "Succeeded", arn=self.evaluate),
            step("Gates", "Succeeded"),
        ]
        last = step("Refused", "Failed", reason=refused) if refused else step("Register", "Succeeded", arn=self.package)
        return Look("Failed" if refused else "Succeeded", [*steps, last])


def archive(files: Mapping[str, bytes]) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz") as packed:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            packed.addfile(entry, io.BytesIO(content))
    return raw.getvalue()


def make_jobs(run: str = "r1", *, adapter: Mapping[str, bytes] | None = None) -> Jobs:
    """Make finished jobs with their results, a log line each, and a package that waits for approval."""
    import boto3

    sagemaker, s3, logs = (boto3.client(name) for name in ("sagemaker", "s3", "logs"))
    process = {"check/report.json": b'{"digest": "d"}', "index/index.json": b"{}", "index/chunks.jsonl": b"{}\n"}
    evaluate = {"evaluation/metrics.json": b'{"f1": 0.5}', "gates/gates.json": b'{"passed": true, "refused_by": ""}'}
    arns = {}
    for name, files in (("Process", process), ("Evaluate", evaluate)):
        job = f"pipelines-{run}-{name}"
        for key, content in files.items():
            s3.put_object(Bucket=BUCKET, Key=f"training/runs/{run}/{key}", Body=content)
        arns[name] = _processing_job(sagemaker, job, run, sorted({key.partition("/")[0] for key in files}))
        _log(logs, "/aws/sagemaker/ProcessingJobs", job, f"{name} at work")
    job = f"pipelines-{run}-Train"
    files = {
        "adapter.gguf": b"GGUF adapter",
        "training.json": json.dumps(TRAINING).encode(),
        "loss.csv": b"step,loss\n",
    }
    arns["Train"] = _training_job(sagemaker, job)
    model = sagemaker.describe_training_job(TrainingJobName=job)["ModelArtifacts"]["S3ModelArtifacts"]
    held = archive(files if adapter is None else adapter)
    s3.put_object(Bucket=BUCKET, Key=model.removeprefix(f"s3://{BUCKET}/"), Body=held)
    _log(logs, "/aws/sagemaker/TrainingJobs", job, "train: 1/2 loss 2.50")
    return Jobs(arns["Process"], arns["Train"], arns["Evaluate"], make_package(sagemaker))


def make_alarm(name: str) -> None:
    import boto3

    boto3.client("cloudwatch").put_metric_alarm(
        AlarmName=name,
        ComparisonOperator="GreaterThanThreshold",
        EvaluationPeriods=1,
        MetricName="Invocation5XXErrors",
        Namespace="AWS/SageMaker",
        Period=60,
        Statistic="Sum",
        Threshold=1,
    )


def make_package(sagemaker: Any, model: str = f"s3://{BUCKET}/model.tar.gz", *, image: str = SERVING_IMAGE) -> str:
    if not sagemaker.list_model_package_groups()["ModelPackageGroupSummaryList"]:
        sagemaker.create_model_package_group(ModelPackageGroupName=GROUP)
    made = sagemaker.create_model_package(
        ModelPackageGroupName=GROUP,
        ModelApprovalStatus="PendingManualApproval",
        InferenceSpecification={
            "Containers": [{"Image": image, "ModelDataUrl": model}],
            "SupportedContentTypes": ["application/json"],
            "SupportedResponseMIMETypes": ["application/json"],
        },
    )
    return str(made["ModelPackageArn"])


def _processing_job(sagemaker: Any, job: str, run: str, names: list[str]) -> str:
    place, more = f"s3://{BUCKET}/training/runs/{run}", {"LocalPath": PROCESSING, "S3UploadMode": "EndOfJob"}
    outputs = [{"OutputName": name, "S3Output": {"S3Uri": f"{place}/{name}", **more}} for name in names]
    made = sagemaker.create_processing_job(
        ProcessingJobName=job,
        ProcessingResources={"ClusterConfig": MACHINES},
        AppSpecification={"ImageUri": IMAGE},
        RoleArn=ROLE,
        ProcessingOutputConfig={"Outputs": outputs},
    )
    return str(made["ProcessingJobArn"])


def _training_job(sagemaker: Any, job: str) -> str:
    made = sagemaker.create_training_job(
        TrainingJobName=job,
        AlgorithmSpecification={"TrainingImage": IMAGE, "TrainingInputMode": "File"},
        RoleArn=ROLE,
        OutputDataConfig={"S3OutputPath": f"s3://{BUCKET}/training/models"},
        ResourceConfig=MACHINES,
        StoppingCondition={"MaxRuntimeInSeconds": 3600},
    )
    return str(made["TrainingJobArn"])


def _log(logs: Any, group: str, job: str, line: str) -> None:
    if not logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"]:
        logs.create_log_group(logGroupName=group)
    logs.create_log_stream(logGroupName=group, logStreamName=f"{job}/algo-1-1")
    event = {"timestamp": int(time.time() * 1000), "message": line}
    logs.put_log_events(logGroupName=group, logStreamName=f"{job}/algo-1-1", logEvents=[event])


GOLDEN = ROOT / "engine" / "tests" / "golden" / "sagemaker" / "pipeline.json"
PYTHON = Path(sys.prefix) / "sagemaker" / "bin" / "python"
# The SDK names what it uploads by the second, and the job's script by its content.
_NEVER_THE_SAME = ((r"train-\d{14}/", "train-<time>/"), (r"/code/[0-9a-f]{64}/", "/code/<sha256>/"))


def run(config: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT / "engine" / "src")}
    argv = [str(PYTHON), "-P", str(ROOT / "pipelines" / "sagemaker.py"), "--config", str(config), *words]
    return subprocess.run(argv, env=env, capture_output=True, text=True, check=False, timeout=240)


def masked(definition: str) -> dict[str, Any]:
    for pattern, word in _NEVER_THE_SAME:
        definition = re.sub(pattern, word, definition)
    found: dict[str, Any] = json.loads(definition)
    return found
