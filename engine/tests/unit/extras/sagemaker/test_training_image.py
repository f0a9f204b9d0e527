# ruff: noqa: F811 - fixtures that are imported are named by the tests
"""The training image as SageMaker runs it: the definition's command and the SDK's own drivers in the container, before
stages that are played, as in test_job.py.

The image stands on what SLUICE_TRAINING_BASE names by digest (engine/docs/reference/image.md).
"""

import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest

from image.containers import PODMAN, isolation, podman
from sluice.core.processes import wait_until
from sluice.extras.image.container_image import BuiltImage, build
from support.aws.sagemaker_runs import BUCKET, ROOT, run
from unit.extras.sagemaker.test_job import training
from unit.extras.sagemaker.test_pipeline_steps import config  # noqa: F401 - a fixture

BASE = os.environ.get("SLUICE_TRAINING_BASE", "")
pytestmark = [
    pytest.mark.sagemaker,
    pytest.mark.real,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(not BASE or not shutil.which("buildah"), reason="SLUICE_TRAINING_BASE and buildah are needed"),
]
_HANGS = 1500
GRACE = 120  # seconds from SIGTERM to SIGKILL


@dataclass
class TrainingContainer:
    """SageMaker's side of a training container: one job after the other on one /opt/ml, which is `ml` here. `request`:
    of CreateTrainingJob; `shared`: a folder that the container sees under its own path.

    Files of /opt/ml/input/config, a folder for each channel, the folder of checkpoints, and SIGTERM and 120 seconds
    later SIGKILL are those of AWS's guide ("How Amazon SageMaker AI Provides Training Information", "Runs Your Training
    Image", "Checkpoints"). Command and environment are those of the definition that the SDK made, and `code` and
    `sm_drivers` what it uploaded.
    """

    image: str
    request: Mapping[str, Any]
    ml: Path
    shared: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    name: str = ""

    def configure(self, hyperparameters: Mapping[str, str]) -> None:
        """Write SageMaker's files, before the container starts."""
        config = self.ml / "input" / "config"
        config.mkdir(parents=True)
        how = {"TrainingInputMode": "File", "S3DistributionType": "FullyReplicated", "RecordWrapperType": "None"}
        channels = {one["ChannelName"]: how for one in self.request["InputDataConfig"]}
        group, hosts = "homogeneousCluster", ["algo-1"]
        instance = self.request["ResourceConfig"]["InstanceType"]
        resources = {
            "current_host": "algo-1",
            "current_instance_type": instance,
            "current_group_name": group,
            "hosts": hosts,
            "instance_groups": [{"instance_group_name": group, "instance_type": instance, "hosts": hosts}],
            "network_interface_name": "eth0",
        }
        written = {"hyperparameters": hyperparameters, "inputdataconfig": channels, "resourceconfig": resources}
        for name, content in written.items():
            (config / f"{name}.json").write_text(json.dumps(content))
        for name in ("model", "checkpoints", "output"):
            (self.ml / name).mkdir(exist_ok=True)

    def start(self) -> None:
        """A new container, without a network: all that it needs is in the image and in its channels."""
        self.name = f"sluice-training-{uuid.uuid4().hex[:8]}"
        algorithm = self.request["AlgorithmSpecification"]
        (entrypoint,) = algorithm["ContainerEntrypoint"]
        variables = {**self.request["Environment"], "TRAINING_JOB_NAME": self.name, **self.environment}
        argv = ["run", "--detach", "--name", self.name, "--hostname", "algo-1", "--network", "none", "--shm-size", "1g"]
        argv += [word for name, value in variables.items() for word in ("--env", f"{name}={value}")]
        argv += ["--volume", f"{self.ml}:/opt/ml", "--volume", f"{self.shared}:{self.shared}"]
        podman(*argv, "--entrypoint", entrypoint, self.image, *algorithm["ContainerArguments"])

    @property
    def running(self) -> bool:
        return podman("inspect", "--format", "{{.State.Running}}", self.name) == "true"

    def take_away(self) -> None:
        """As a spot machine is: SIGTERM, and SIGKILL for what is still there 120 seconds later."""
        podman("stop", "--time", str(GRACE), self.name)

    def end(self) -> tuple[int, str]:
        """Wait for the end, remove the container, and return its exit code and log."""
        code = int(podman("wait", self.name))
        done = subprocess.run([*PODMAN, "logs", self.name], capture_output=True, text=True, check=False)
        podman("rm", "--force", self.name)
        return code, done.stdout + done.stderr


@pytest.fixture(scope="module")
def image() -> BuiltImage:
    return build(ROOT, BASE, "localhost/sluice:test", isolation(), suffix="-training")


@pytest.fixture
def request_of_train(config: Path, tmp_path: Path) -> dict[str, Any]:
    """CreateTrainingJob as the definition has it, with `code` and `sm_drivers` brought out of the bucket."""
    done = run(config, "--upsert")
    assert done.returncode == 0, done.stderr
    made = boto3.client("sagemaker").describe_pipeline(PipelineName="sluice-train")["PipelineDefinition"]
    (train,) = [step["Arguments"] for step in json.loads(made)["Steps"] if step["Name"] == "Train"]
    s3 = boto3.client("s3")
    for channel in train["InputDataConfig"]:
        uri = channel["DataSource"]["S3DataSource"]["S3Uri"]
        if isinstance(uri, str):
            prefix = uri.removeprefix(f"s3://{BUCKET}/")
            for found in s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix)["Contents"]:
                name = found["Key"].removeprefix(f"{prefix}/")
                path = tmp_path / "ml" / "input" / "data" / channel["ChannelName"] / name
                path.parent.mkdir(parents=True, exist_ok=True)
                s3.download_file(BUCKET, found["Key"], str(path))
    return dict(train)


def test_it_holds_the_locks_and_none_of_our_code(image: BuiltImage) -> None:
    listed = {one["name"].lower() for one in json.loads(image.sbom.read_text())["components"]}
    assert {"torch", "transformers", "peft", "accelerate", "bitsandbytes", "mlflow", "dvc"} <= listed
    assert "sluice" not in listed
    said = podman(
        "run", "--rm", "--network=none", "--entrypoint=sh", image.id, "-c", "ls /opt; command -v python3 torchrun"
    )
    assert said.split() == ["libraries", "/opt/libraries/bin/python3", *said.split()[2:]]


def test_signal_exit_code_and_reason_pass_through_shells_drivers_and_torchrun(
    image: BuiltImage, request_of_train: dict[str, Any], tmp_path: Path
) -> None:
    ml = tmp_path / "ml"
    training(ml)
    job = TrainingContainer(image.id, request_of_train, ml, tmp_path, {"SLUICE_INSTALLED": "1", "HANGS": "1"})
    job.configure({"stage": "train"})
    step = ml / "checkpoints" / "step"
    job.start()
    assert wait_until(lambda: step.exists() or not job.running, seconds=_HANGS)
    job.take_away()
    code, log = job.end()
    assert (code, "exitcode  : 143" in log) == (1, True), log  # torchrun and the SDK's driver make 1 of it
    assert not list((ml / "model").iterdir())
    for path in (step, ml / "output" / "failure"):
        path.unlink()  # the SDK's driver writes a failure for each end but a good one
    job.environment = {"SLUICE_INSTALLED": "1", "FAILS": "train"}
    job.start()
    code, log = job.end()
    assert code == 1, log
    assert "key 'id' is missing" in (ml / "output" / "failure").read_text()
    (ml / "output" / "failure").unlink()
    job.environment = {"SLUICE_INSTALLED": "1"}
    job.start()
    code, log = job.end()
    assert code == 0, log
    assert {path.name for path in (ml / "model").iterdir()} == {"adapter.gguf", "training.json"}
    assert not (ml / "output" / "failure").exists()
