"""The definition of the pipeline. Tests marked `sagemaker` make it by the SDK, the others read the golden file."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml

from sluice.extras.sagemaker.pipeline_runs import REFUSED
from sluice.extras.sagemaker.pipeline_steps import SCRIPT
from support.aws.sagemaker_runs import BUCKET, GOLDEN, PYTHON, ROOT, account, jobs_with, masked, run, write_settings
from support.aws.service_model import faults, operation

REMEDY = "read the difference, then run .venv/bin/python engine/scripts/write_golden_pipeline.py"


@pytest.fixture(scope="module")
def steps() -> dict[str, Any]:
    kept = json.loads(GOLDEN.read_text())
    return {step["Name"]: step for step in kept["Steps"]}


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loopback: None) -> Iterator[Path]:  # noqa: ARG001
    if not PYTHON.exists():
        pytest.fail("the SDK's environment is missing: make test-sagemaker makes it")
    write_settings(tmp_path)
    with account(monkeypatch):
        yield tmp_path


def test_the_steps_are_those_of_dvc_between_process_and_gates(steps: dict[str, Any]) -> None:
    assert list(steps) == ["Process", "Train", "Evaluate", "Gates"]
    stages = yaml.safe_load((ROOT / "pipelines" / "dvc.yaml").read_text())["stages"]
    assert list(stages) == ["code", "check", "index", "guard", "train", "evaluate"]
    del stages["code"]  # a job is given the recipe, which has the digests
    job = SCRIPT.read_text()
    for stage in stages.values():
        words = ", ".join(f'"{word}"' for word in stage["cmd"].split()[1:])
        assert f"job.sluice({words})" in job, f"{stage['cmd']}: no job runs it as dvc.yaml does"


def test_a_package_is_registered_only_where_the_gates_let_it_pass(steps: dict[str, Any]) -> None:
    gate = steps["Gates"]["Arguments"]
    (condition,) = gate["Conditions"]
    assert condition["RightValue"] is True
    assert condition["LeftValue"]["Std:JsonGet"]["Path"] == "passed"
    assert [(step["Name"], step["Type"]) for step in gate["IfSteps"]] == [("Register", "RegisterModel")]
    assert gate["IfSteps"][0]["Arguments"]["ModelApprovalStatus"] == "PendingManualApproval"
    assert [(step["Name"], step["Type"]) for step in gate["ElseSteps"]] == [(REFUSED, "Fail")]


def test_training_is_bounded_and_goes_on_from_checkpoints_of_its_recipe(steps: dict[str, Any]) -> None:
    train = steps["Train"]["Arguments"]
    assert train["EnableManagedSpotTraining"] is True
    assert train["StoppingCondition"] == {"MaxRuntimeInSeconds": 3600, "MaxWaitTimeInSeconds": 7200}
    assert train["CheckpointConfig"]["LocalPath"] == "/opt/ml/checkpoints"
    assert {"Get": "Parameters.Recipe"} in train["CheckpointConfig"]["S3Uri"]["Std:Join"]["Values"]
    assert all(steps[name]["Arguments"]["StoppingCondition"] for name in ("Process", "Evaluate"))


CALLS = {"Processing": "CreateProcessingJob", "Training": "CreateTrainingJob", "RegisterModel": "CreateModelPackage"}


def requests(steps: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the pipeline's calls of SageMaker, with text where a run fills something in."""
    for step in steps:
        if step["Type"] == "Condition":
            yield from requests([*step["Arguments"]["IfSteps"], *step["Arguments"]["ElseSteps"]])
        elif step["Type"] in CALLS:
            call = CALLS[step["Type"]]
            name = {} if step["Type"] == "RegisterModel" else {f"{step['Type']}JobName": "pipelines-1-job"}
            yield call, filled(step["Arguments"]) | name


def filled(value: Any) -> Any:
    if isinstance(value, list):
        return [filled(one) for one in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1 and (key := next(iter(value))) and (key == "Get" or key.startswith("Std:")):
        return "s3://bucket/filled-in"
    return {key: filled(held) for key, held in value.items()}


def test_each_request_of_the_definition_is_one_that_sagemaker_s_model_has() -> None:
    found = dict(requests(json.loads(GOLDEN.read_text())["Steps"]))
    assert set(found) == set(CALLS.values())
    for call, asked in found.items():
        assert faults(operation("sagemaker", call).input_shape, asked, call) == []


@pytest.mark.sagemaker
def test_with_network_key_tags_and_secrets_the_requests_are_right_and_hold_no_secret(config: Path) -> None:
    key = "arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
    secrets = {"HF_TOKEN": "sluice/training/hub"}  # pragma: allowlist secret
    write_settings(
        config,
        environment={"MLFLOW_TRACKING_URI": "arn:aws:sagemaker:eu-west-1:123456789012:mlflow-tracking-server/one"},
        secrets=secrets,
        subnets=["subnet-0a1b"],
        security_groups=["sg-0a1b"],
        kms_key=key,
        tags={"project": "sluice"},
        jobs=jobs_with(instance_type="ml.g5.xlarge"),
        prices={"ml.m5.xlarge": 0.24, "ml.g5.xlarge": 1.0},
    )
    done = run(config)
    assert done.returncode == 0, done.stderr
    steps = json.loads(done.stdout)["Steps"]
    vpc = {"Subnets": ["subnet-0a1b"], "SecurityGroupIds": ["sg-0a1b"]}
    for call, asked in requests(steps):
        assert faults(operation("sagemaker", call).input_shape, asked, call) == []
        if call == "CreateModelPackage":
            continue
        assert {"Key": "project", "Value": "sluice"} in asked["Tags"]
        assert json.loads(asked["Environment"]["SLUICE_SECRETS"]) == secrets
        assert "HF_TOKEN" not in asked["Environment"]
        assert (asked.get("VpcConfig") or asked["NetworkConfig"]["VpcConfig"]) == vpc
        machines = asked.get("ResourceConfig") or asked["ProcessingResources"]["ClusterConfig"]
        own_disks = machines["InstanceType"] == "ml.g5.xlarge"  # AWS's ResourceConfig: no key is taken for those
        assert machines.get("VolumeKmsKeyId") == (None if own_disks else key)
        assert (asked.get("OutputDataConfig") or asked["ProcessingOutputConfig"])["KmsKeyId"] == key


@pytest.mark.sagemaker
def test_the_sdk_makes_what_is_kept(config: Path) -> None:
    done = run(config)
    assert done.returncode == 0, done.stderr
    assert masked(done.stdout) == json.loads(GOLDEN.read_text()), REMEDY


@pytest.mark.sagemaker
def test_the_pipeline_is_made_then_updated_and_torchrun_starts_the_job(config: Path) -> None:
    write_settings(config, jobs=jobs_with(processes=4))
    for _ in range(2):
        done = run(config, "--upsert")
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip().endswith(":pipeline/sluice-train")
    sagemaker, s3 = boto3.client("sagemaker"), boto3.client("s3")
    made = json.loads(sagemaker.describe_pipeline(PipelineName="sluice-train")["PipelineDefinition"])
    (train,) = [step for step in made["Steps"] if step["Name"] == "Train"]
    channels = {one["ChannelName"]: one for one in train["Arguments"]["InputDataConfig"]}
    drivers = channels["sm_drivers"]["DataSource"]["S3DataSource"]["S3Uri"].removeprefix(f"s3://{BUCKET}/")
    read = s3.get_object(Bucket=BUCKET, Key=f"{drivers}/distributed.json")["Body"].read()
    assert json.loads(read)["process_count_per_node"] == 4
    started = s3.get_object(Bucket=BUCKET, Key=f"{drivers}/sm_train.sh")["Body"].read().decode()
    assert "torchrun_driver.py" in started
    source = json.loads(s3.get_object(Bucket=BUCKET, Key=f"{drivers}/sourcecode.json")["Body"].read())
    assert source["entry_script"] == "job.py"
