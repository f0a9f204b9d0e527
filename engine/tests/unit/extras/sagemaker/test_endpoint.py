"""Deployments to an endpoint, which is played (support/aws/endpoint_service.py), in each state that it can be in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest

from sluice.core.errors import CanaryStopped, SluiceError
from sluice.extras.sagemaker.endpoint import deploy
from sluice.extras.sagemaker.settings import require
from support.aws.endpoint_service import Thing
from support.aws.played_sagemaker import Played
from support.aws.sagemaker_runs import BUCKET, IMAGE, SERVING_IMAGE, make_alarm, make_package, write_settings
from support.aws.service_model import REQUESTS

NAME = "sluice-assistant"
ENDPOINT = {"name": NAME, "instance_type": "ml.m5.xlarge", "wait_seconds": 300, "alarms": ["errors", "latency"]}


@pytest.fixture
def alarms(played: Played) -> None:  # noqa: ARG001 - the account
    for name in ENDPOINT["alarms"]:
        make_alarm(name)


Deploy = Callable[..., list[str]]


@pytest.fixture
def meanwhile() -> dict[str, Callable[[], Any]]:
    """Functions to call once, by a word that the command says."""
    return {}


@pytest.fixture
def run(tmp_path: Path, alarms: None, meanwhile: dict[str, Callable[[], Any]]) -> Deploy:  # noqa: ARG001 - they are there
    """Deploy with these keys of `endpoint:`; return the lines it prints."""

    def call(**changed: Any) -> list[str]:
        write_settings(tmp_path, serving_image=SERVING_IMAGE, endpoint=ENDPOINT | changed)
        said: list[str] = []

        def say(line: str) -> None:
            said.append(line)
            for word in [word for word in meanwhile if word in line]:
                meanwhile.pop(word)()

        deploy(require(tmp_path), say)
        return said

    return call


def approved(image: str = SERVING_IMAGE) -> str:
    sagemaker: Any = boto3.client("sagemaker")
    package = make_package(sagemaker, image=image)
    sagemaker.update_model_package(ModelPackageArn=package, ModelApprovalStatus="Approved")
    return package


def live(played: Played) -> Thing:
    return played.service.endpoints[NAME]


def version(played: Played) -> str:
    return live(played).config.removeprefix(f"{NAME}-").partition("-")[0]


def test_the_first_deployment_makes_the_endpoint_and_the_same_again_does_nothing(played: Played, run: Deploy) -> None:
    package = approved()
    said = run()
    name = live(played).config
    assert said == [f"{NAME}: {name} is on its way", f"{NAME}: creating", f"{NAME}: serves {name}"]
    made = boto3.client("sagemaker").describe_model(ModelName=name)
    assert made["PrimaryContainer"]["ModelPackageName"] == package
    asked = [params for _, call, params in REQUESTS if call == "DescribeAlarms"]
    assert all(set(one["AlarmTypes"]) == {"MetricAlarm", "CompositeAlarm"} for one in asked)
    assert run() == [f"{NAME}: serves {name}"]
    assert played.count("CreateEndpoint") == 1


def test_the_next_one_moves_a_share_first_and_goes_back_by_alarms(played: Played, run: Deploy) -> None:
    approved()
    run()
    approved()
    assert f"{NAME}: updating" in run()
    assert version(played) == "2"
    (asked,) = played.asked("UpdateEndpoint")
    policy = asked["DeploymentConfig"]["BlueGreenUpdatePolicy"]["TrafficRoutingConfiguration"]
    assert policy == {
        "Type": "CANARY",
        "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 10},
        "WaitIntervalInSeconds": 300,
    }
    names = [one["AlarmName"] for one in asked["DeploymentConfig"]["AutoRollbackConfiguration"]["Alarms"]]
    assert names == ENDPOINT["alarms"]


def test_a_model_of_gigabytes_has_the_time_and_the_variables_that_it_needs(played: Played, run: Deploy) -> None:
    approved()
    ami = "al2-ami-sagemaker-inference-gpu-2"
    environment = {"SM_VLLM_MODEL": "Qwen/Qwen3-8B"}
    run(environment=environment, startup_seconds=3600, volume_gb=256, ami=ami, capture_percent=10)
    (config,) = played.asked("CreateEndpointConfig")
    (variant,) = config["ProductionVariants"]
    assert variant["ContainerStartupHealthCheckTimeoutInSeconds"] == 3600
    assert variant["ModelDataDownloadTimeoutInSeconds"] == 3600
    assert variant["VolumeSizeInGB"] == 256
    assert variant["InferenceAmiVersion"] == ami
    assert variant["RoutingConfig"] == {"RoutingStrategy": "LEAST_OUTSTANDING_REQUESTS"}
    assert config["DataCaptureConfig"]["DestinationS3Uri"].endswith(f"/training/captured/{NAME}")
    (model,) = played.asked("CreateModel")
    assert model["PrimaryContainer"]["Environment"] == environment


@pytest.mark.parametrize("changed", [{"instance_type": "ml.g5.12xlarge"}, {"environment": {"A": "b"}}], ids=str)
def test_another_size_machine_or_variable_is_deployed(played: Played, run: Deploy, changed: dict[str, Any]) -> None:
    approved()
    run()
    before = live(played).config
    run(**changed)
    assert live(played).config != before
    assert version(played) == "1"
    assert played.count("UpdateEndpoint") == 1


def test_a_package_that_was_registered_with_another_image_is_served_in_the_one_that_is_named(
    played: Played, run: Deploy
) -> None:
    """As packages are that were trained before `serving_image` was set: the image of jobs answers nothing."""
    approved(IMAGE)
    run(environment={"A": "b"})
    (model,) = played.asked("CreateModel")
    served = {"Image": SERVING_IMAGE, "ModelDataUrl": f"s3://{BUCKET}/model.tar.gz", "Environment": {"A": "b"}}
    assert model["PrimaryContainer"] == served


def test_scaled_machines_keep_their_number_in_a_deployment(played: Played, run: Deploy) -> None:
    scaling = {"least": 2, "most": 8, "requests": 4}
    approved()
    run(scaling=scaling)
    approved()
    run(scaling=scaling)
    (asked,) = played.asked("UpdateEndpoint")
    assert asked["RetainAllVariantProperties"] is True
    found: Any = boto3.client("application-autoscaling")
    (target,) = found.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]
    assert target["ResourceId"] == f"endpoint/{NAME}/variant/live"
    assert (target["MinCapacity"], target["MaxCapacity"]) == (2, 8)
    (policy,) = found.describe_scaling_policies(ServiceNamespace="sagemaker")["ScalingPolicies"]
    assert policy["TargetTrackingScalingPolicyConfiguration"]["TargetValue"] == 4
    for _ in range(2):  # what is not there cannot be taken away twice
        run()
        assert found.describe_scaling_policies(ServiceNamespace="sagemaker")["ScalingPolicies"] == []


def _of(config: str, status: str = "InService", **more: Any) -> Callable[[Played], None]:
    def seed(played: Played) -> None:
        played.service.endpoints[NAME] = Thing(config, status, **more)

    return seed


def _with(seed: Callable[[Played], None], **more: Any) -> Callable[[Played], None]:
    def both(played: Played) -> None:
        seed(played)
        for name, value in more.items():
            setattr(played.service, name, value)

    return both


def _nothing(played: Played) -> None:
    assert not played.service.endpoints


def _refuse(code: str, call: str) -> Callable[[Played], None]:
    def seed(played: Played) -> None:
        _of(f"{NAME}-0-old")(played)
        played.refuse[call] = (code, "no")

    return seed


# By what the endpoint is or what happens meanwhile: the error, words of it or the output, and the version that serves.
STATES: dict[str, tuple[Callable[[Played], None], type[SluiceError] | None, str, str]] = {
    "failed before": (_of(f"{NAME}-0-old", "Failed", reason="no /ping"), None, "it is deleted", "1"),
    "another is under way": (_of(f"{NAME}-0-old", "Updating", pending=f"{NAME}-0-new", left=2), None, "updating", "1"),
    "another is taken back": (
        _of(f"{NAME}-0-old", "Updating", pending=f"{NAME}-0-new", end="RolledBack"),
        None,
        "",
        "1",
    ),
    "another fails": (_of(f"{NAME}-0-old", "Creating", end="Failed"), None, "it is deleted", "1"),
    "AWS maintains it": (_of(f"{NAME}-0-old", "SystemUpdating", left=3), None, "systemupdating", "1"),
    "it is being deleted": (_of(f"{NAME}-0-old", "Deleting", left=2), None, "deleting", "1"),
    "two configurations serve": (_of(f"{NAME}-0-old", "UpdateRollbackFailed"), SluiceError, "side by side", "0"),
    "an alarm rings in the canary": (
        _with(_of(f"{NAME}-0-old"), outcomes=["RolledBack"]),
        CanaryStopped,
        "errors",
        "0",
    ),
    "the first one fails": (_with(_nothing, outcomes=["Failed"]), SluiceError, "ping health check", "1"),
    "it is deleted by hand": (_with(_of(f"{NAME}-0-old"), ticks=3), SluiceError, "was deleted", ""),
    "another is approved meanwhile": (_with(_of(f"{NAME}-0-old"), ticks=3), None, "meanwhile", "2"),
    "the quota refuses it": (_refuse("ResourceLimitExceeded", "UpdateEndpoint"), SluiceError, "quota", "0"),
    "credentials expire": (_refuse("ExpiredTokenException", "DescribeEndpoint"), SluiceError, "credentials", "0"),
    "credentials expire in the canary": (
        _with(_of(f"{NAME}-0-old"), ticks=3),
        SluiceError,
        "what has begun is picked up",
        "0",
    ),
    "a right is missing": (_refuse("AccessDeniedException", "CreateModel"), SluiceError, "not allowed", "0"),
}


@pytest.mark.parametrize("state", STATES)
def test_each_state_ends_where_the_reference_says(
    played: Played, run: Deploy, meanwhile: dict[str, Callable[[], Any]], state: str
) -> None:
    seed, error, words, serves = STATES[state]
    if state == "it is deleted by hand":
        meanwhile["updating"] = lambda: played.service.endpoints.pop(NAME)
    if state == "another is approved meanwhile":
        meanwhile["updating"] = approved
    if state == "credentials expire in the canary":
        expired = ("ExpiredTokenException", "no")
        meanwhile["updating"] = lambda: played.refuse.update({"DescribeEndpoint": expired})
    approved()
    seed(played)
    if error is None:
        assert words in "\n".join(run())
    else:
        with pytest.raises(error, match=words):
            run()
    found = played.service.endpoints.get(NAME)
    assert (version(played) if found else "") == serves
    if error is None:
        assert (live(played).status, live(played).pending) == ("InService", "")
    played.refuse.clear()  # with the reason gone, the same command succeeds
    if state not in ("two configurations serve", "an alarm rings in the canary"):
        run()
        assert live(played).status == "InService"
    if state == "credentials expire in the canary":
        assert played.count("UpdateEndpoint") == 1


@pytest.mark.parametrize(("seed", "outcome"), [(_nothing, "Failed"), (_of(f"{NAME}-0-old"), "RolledBack")])
def test_a_deployment_that_another_run_began_is_followed_and_not_tried_twice(
    played: Played, run: Deploy, meanwhile: dict[str, Callable[[], Any]], seed: Callable[[Played], None], outcome: str
) -> None:
    approved()
    _with(seed, ticks=3, outcomes=[outcome])(played)
    meanwhile["is on its way"] = lambda: played.refuse.update({"DescribeEndpoint": ("ExpiredTokenException", "no")})
    with pytest.raises(SluiceError, match="credentials"):
        run()
    played.refuse.clear()
    with pytest.raises(SluiceError, match="ping health check" if outcome == "Failed" else "was taken back"):
        run()
    assert played.count("CreateEndpoint") + played.count("UpdateEndpoint") == 1


def test_nothing_begins_without_a_package_settings_and_quiet_alarms(played: Played, tmp_path: Path) -> None:
    write_settings(tmp_path, serving_image=SERVING_IMAGE, endpoint=ENDPOINT)
    settings = require(tmp_path)
    with pytest.raises(SluiceError, match="no package is approved"):
        deploy(settings, print)
    approved()
    with pytest.raises(SluiceError, match="errors is missing, latency is missing"):
        deploy(settings, print)
    for name in ENDPOINT["alarms"]:
        make_alarm(name)
    boto3.client("cloudwatch").set_alarm_state(AlarmName="errors", StateValue="ALARM", StateReason="drill")
    with pytest.raises(SluiceError, match="errors is ALARM"):
        deploy(settings, print)
    write_settings(tmp_path, endpoint=ENDPOINT)
    with pytest.raises(SluiceError, match="serving_image is not set"):
        deploy(require(tmp_path), print)
    write_settings(tmp_path)
    with pytest.raises(SluiceError, match="endpoint is not set"):
        deploy(require(tmp_path), print)
    assert not [call for call, _ in played.calls if call.startswith(("CreateEndpoint", "UpdateEndpoint"))]
