"""Adapters as inference components on one base, which is played (support/aws/endpoint_service.py).

Application Auto Scaling is played too, by botocore's model: moto 5.2 does not know the dimension of components.
"""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.model import OperationModel

from sluice.core.errors import SluiceError
from sluice.extras.sagemaker.endpoint import deploy
from sluice.extras.sagemaker.settings import CUDA_13_AMI, EndpointComponents, require
from support.aws import role_policies
from support.aws.played_sagemaker import Played
from support.aws.sagemaker_runs import BUCKET, SERVING_IMAGE, archive, make_alarm, make_package, write_settings
from support.aws.service_model import REQUESTS, faults
from unit.aws.test_bootstrap import template

NAME = "sluice-assistant"
LORA = {"SM_VLLM_ENABLE_LORA": "true", "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "true"}
COMPONENTS: dict[str, Any] = {"environment": {"SM_VLLM_MODEL": "Qwen/Qwen3-8B", **LORA}, "memory_mb": 20000}
ENDPOINT = {
    "name": NAME,
    "instance_type": "ml.g5.2xlarge",
    "instances": 1,
    "alarms": ["errors"],
    "scaling": {"least": 0, "most": 4, "requests": 8},
}


@pytest.fixture(autouse=True)
def scaling(played: Played) -> None:  # noqa: ARG001 - the account
    make_alarm("errors")
    assert boto3.DEFAULT_SESSION
    boto3.DEFAULT_SESSION.events.register("before-call.application-autoscaling", scaling_answers)


def scaling_answers(model: OperationModel, params: dict[str, Any], **_: Any) -> tuple[AWSResponse, dict[str, Any]]:
    asked = json.loads(params["body"])
    arn = f"arn:aws:autoscaling:eu-west-1:123456789012:scalingPolicy:1:policyName/{asked.get('PolicyName')}"
    answer = {"PolicyARN": arn} if model.name == "PutScalingPolicy" else {}
    assert not faults(model.output_shape, answer)
    return AWSResponse(params["url"], 200, {}, None), answer


def scaled(call: str) -> list[dict[str, Any]]:
    return [params for _, name, params in REQUESTS if name == call]


Deploy = Callable[..., str]


def deployed(folder: Path, endpoint: dict[str, Any]) -> str:
    write_settings(folder, serving_image=SERVING_IMAGE, endpoint=endpoint)
    return deploy(require(folder), lambda _: None)


@pytest.fixture
def run(tmp_path: Path, played: Played) -> Deploy:  # noqa: ARG001 - the account
    """Deploy with these keys of `components:`; return the component that serves."""
    return lambda **changed: deployed(tmp_path, ENDPOINT | {"components": COMPONENTS | changed})


def approved(weights: bytes, *, peft: bool = True) -> None:
    files = {"adapter.gguf": b"gguf", "training.json": b"{}"}
    if peft:
        files |= {"peft/adapter_config.json": b'{"r": 16}', "peft/adapter_model.safetensors": weights}
    sagemaker: Any = boto3.client("sagemaker")
    key = f"training/models/{weights.decode()}/output/model.tar.gz"
    boto3.client("s3").put_object(Bucket=BUCKET, Key=key, Body=archive(files))
    package = make_package(sagemaker, f"s3://{BUCKET}/{key}")
    sagemaker.update_model_package(ModelPackageArn=package, ModelApprovalStatus="Approved")


def adapters(played: Played) -> list[str]:
    found = played.service.components.items()
    return [name for name, one in found if "BaseInferenceComponentName" in one.request["Specification"]]


def test_a_base_and_the_adapter_of_the_package_are_served(played: Played, run: Deploy) -> None:
    approved(b"one")
    served = run()
    base, adapter = played.asked("CreateInferenceComponent")
    (model,) = played.asked("CreateModel")
    assert model["PrimaryContainer"] == {"Image": SERVING_IMAGE, "Environment": COMPONENTS["environment"]}
    assert base["Specification"]["ModelName"] == model["ModelName"]
    assert adapter["InferenceComponentName"] == served
    assert adapter["Specification"]["BaseInferenceComponentName"] == base["InferenceComponentName"]
    key = adapter["Specification"]["Container"]["ArtifactUrl"].removeprefix(f"s3://{BUCKET}/")
    held = boto3.client("s3").get_object(Bucket=BUCKET, Key=key)["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(held)) as content:  # what LMI and vLLM look for is at the top
        assert content.getnames() == ["adapter_config.json", "adapter_model.safetensors"]
    (config,) = played.asked("CreateEndpointConfig")
    (variant,) = config["ProductionVariants"]
    assert "ModelName" not in variant
    assert variant["ManagedInstanceScaling"] == {"Status": "ENABLED", "MinInstanceCount": 0, "MaxInstanceCount": 4}
    assert run() == served
    assert played.count("CreateInferenceComponent") == 2


def test_a_base_of_the_bucket_is_mounted_with_a_context_that_the_service_asks_for(
    played: Played, tmp_path: Path
) -> None:
    """SageMaker puts the files of a ModelDataSource into /opt/ml/model, which a gated model needs no token for."""
    approved(b"one")
    base = f"s3://{BUCKET}/llama-8b/weights/"
    mounted = COMPONENTS | {"base": base, "environment": {"SM_VLLM_MODEL": "/opt/ml/model", **LORA}}
    write_settings(tmp_path, serving_image=SERVING_IMAGE, endpoint=ENDPOINT | {"components": mounted})
    deploy(require(tmp_path), lambda _: None, context=4096)
    (model,) = played.asked("CreateModel")
    source = {"S3Uri": base, "S3DataType": "S3Prefix", "CompressionType": "None"}
    assert model["PrimaryContainer"]["ModelDataSource"] == {"S3DataSource": source}
    assert model["PrimaryContainer"]["Environment"] == mounted["environment"] | {"SM_VLLM_MAX_MODEL_LEN": "4096"}
    for wrong in ({"base": base}, {"environment": mounted["environment"]}):
        write_settings(tmp_path, serving_image=SERVING_IMAGE, endpoint=ENDPOINT | {"components": COMPONENTS | wrong})
        with pytest.raises(SluiceError, match="go together"):
            require(tmp_path)


def test_an_image_for_cuda_13_gets_its_driver_or_is_refused(played: Played, run: Deploy, tmp_path: Path) -> None:
    approved(b"one")
    run()
    (config,) = played.asked("CreateEndpointConfig")
    (variant,) = config["ProductionVariants"]
    assert variant["InferenceAmiVersion"] == CUDA_13_AMI
    plain = ENDPOINT | {"components": COMPONENTS}
    for wrong, said in (
        ({"ami": "al2-ami-sagemaker-inference-gpu-3-1"}, "older"),
        ({"instance_type": "ml.g7e.2xlarge"}, "none"),
    ):
        write_settings(tmp_path, serving_image=SERVING_IMAGE, endpoint=plain | wrong)
        with pytest.raises(SluiceError, match=f"driver of CUDA 13.*{said}"):
            require(tmp_path)
    write_settings(tmp_path, serving_image=SERVING_IMAGE.replace("cu130", "cu129"), endpoint=plain)
    assert require(tmp_path).endpoint_ami == ""


def test_a_vllm_that_would_take_no_adapter_is_refused_before_anything_is_made(played: Played, run: Deploy) -> None:
    """vLLM 0.32.0, vllm/entrypoints/serve/lora/api_router.py, attach_router: without VLLM_ALLOW_RUNTIME_LORA_UPDATING
    there is no route that SageMaker could give an adapter to."""
    with pytest.raises(SluiceError, match="without SM_VLLM_ENABLE_LORA and VLLM_ALLOW_RUNTIME_LORA_UPDATING"):
        run(environment={"SM_VLLM_MODEL": "Qwen/Qwen3-8B"})
    assert played.count("CreateInferenceComponent") == 0
    assert EndpointComponents(environment={"HF_MODEL_ID": "Qwen/Qwen3-8B"}, memory_mb=20000).keep == 3  # LMI's


def test_adapters_above_the_number_that_is_kept_go_the_oldest_first(played: Played, run: Deploy) -> None:
    names = []
    for weights in (b"one", b"two", b"three"):
        approved(weights)
        names.append(run(keep=2))
        assert adapters(played) == names[-2:], "side by side, on the same machines"
    assert played.count("UpdateEndpoint") == 0
    approved(b"four")
    served = run(keep=1, environment={"SM_VLLM_MODEL": "Qwen/Qwen3-14B", **LORA})
    assert adapters(played) == [served]
    left = [name for name, one in played.service.components.items() if one.status != "Deleting"]
    assert len(left) == 2  # the other base goes with its last adapter


def test_it_goes_down_to_none_comes_back_when_somebody_asks_and_can_be_left_alone(
    played: Played, run: Deploy, tmp_path: Path
) -> None:
    approved(b"one")
    run()
    base = played.asked("CreateInferenceComponent")[0]["InferenceComponentName"]
    (target,) = scaled("RegisterScalableTarget")
    assert target["ResourceId"] == f"inference-component/{base}"
    assert (target["MinCapacity"], target["MaxCapacity"]) == (0, 4)
    wake_up = next(one for one in scaled("PutScalingPolicy") if one["PolicyType"] == "StepScaling")
    (step,) = wake_up["StepScalingPolicyConfiguration"]["StepAdjustments"]
    assert step["ScalingAdjustment"] == 1
    (alarm,) = boto3.client("cloudwatch").describe_alarms(AlarmNames=[f"{base}-wake-up"])["MetricAlarms"]
    assert [one.endswith(f"policyName/{wake_up['PolicyName']}") for one in alarm["AlarmActions"]] == [True]
    assert alarm["MetricName"] == "NoCapacityInvocationFailures"
    deployed(tmp_path, ENDPOINT | {"scaling": None, "components": COMPONENTS})
    gone = scaled("DeleteScalingPolicy")
    assert [one["PolicyName"] for one in gone] == [f"{base}-requests", f"{base}-wake-up"]
    assert {one["ResourceId"] for one in gone} == {f"inference-component/{base}"}
    assert len(scaled("RegisterScalableTarget")) == 1


def test_a_component_that_failed_is_said_and_made_anew_by_the_same_command(played: Played, run: Deploy) -> None:
    approved(b"one")
    played.service.outcomes = ["InService", "InService", "Failed"]
    with pytest.raises(SluiceError, match="ping health check"):
        run()
    served = run()
    assert played.service.components[served].status == "InService"
    assert played.count("DeleteInferenceComponent") == 1


def test_the_role_of_production_may_do_what_this_asks_and_nothing_else(
    played: Played, run: Deploy, tmp_path: Path
) -> None:
    REQUESTS.clear()
    for weights in (b"one", b"two"):
        approved(weights)
        run(keep=1)
    plain: dict[str, Any] = {"name": "sluice-plain", "instance_type": "ml.g5.xlarge", "alarms": ["errors"]}
    plain["scaling"] = {"least": 2, "most": 4, "requests": 1}
    for instances in (2, 3):
        deployed(tmp_path, plain | {"instances": instances})
    played.service.endpoints["sluice-plain"].status = "Failed"
    deployed(tmp_path, plain | {"scaling": None})
    REQUESTS[:] = [one for one in REQUESTS if one[2].get("Key", "").partition("/adapters/")[1] or one[1] != "PutObject"]
    role_policies.require(template(), "ProductionRole", role_policies.asked(), "DeployPolicy")


def test_a_package_without_peft_is_refused_before_a_component_is_made(played: Played, run: Deploy) -> None:
    approved(b"one", peft=False)
    with pytest.raises(SluiceError, match="has no PEFT adapter") as caught:
        run()
    assert "exports: [gguf, peft]" in caught.value.remedy
    assert played.count("CreateInferenceComponent") == 0
