# ruff: noqa: F811 - fixtures that are imported are named by the tests
"""The training image as SageMaker runs it: the definition's command and the SDK's own drivers in the container, before
stages that are played, as in test_job.py.

The image stands on what SLUICE_TRAINING_BASE names by digest (engine/docs/reference/image.md).
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import boto3
import pytest

from image.containers import isolation, podman
from sluice.core.processes import wait_until
from sluice.extras.image.container_image import BuiltImage, build
from support.aws.sagemaker_runs import BUCKET, ROOT, run
from support.aws.training_container import TrainingContainer
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
                path = (
                    tmp_path
                    / "ml"
                    / "input"
                    / "data"
                    / channel["ChannelName"]
                    / found["Key"].removeprefix(f"{prefix}/")
                )
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
