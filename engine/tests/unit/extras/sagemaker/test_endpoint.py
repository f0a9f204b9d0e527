"""Deployments to an endpoint, which is played (support/aws/endpoint_service.py), in each state that it can be in."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import boto3
import pytest

from sluice.core.errors import CanaryStopped, SluiceError
from sluice.extras.sagemaker.endpoint import deploy
from sluice.extras.sagemaker.settings import CUDA_13_AMI, require
from support.aws.endpoint_service import Thing
from support.aws.played_sagemaker import Played
from support.aws.sagemaker_runs import BUCKET, IMAGE, SERVING_IMAGE, make_alarm, make_package, write_settings
from support.aws.service_model import REQUESTS

NAME = "sluice-assistant"
ENDPOINT = {"name": NAME, "instance_type": "ml.g5.xlarge", "wait_seconds": 300, "alarms": ["errors", "latency"]}


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
    ami = CUDA_13_AMI
    environment = {"SM_VLLM_MODEL": "Qwen/Qwen3-8B"}
    run(environment=environment, startup_seconds=3600, volume_gb=256)
    (config,) = played.asked("CreateEndpointConfig")
    (variant,) = config["ProductionVariants"]
    assert variant["ContainerStartupHealthCheckTimeoutInSeconds"] == 3600
    assert variant["ModelDataDownloadTimeoutInSeconds"] == 3600
    assert variant["VolumeSizeInGB"] == 256
    assert variant["InferenceAmiVersion"] == ami
    assert variant["RoutingConfig"] == {"RoutingStrategy": "LEAST_OUTSTANDING_REQUESTS"}
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


OLD, NEW = f"{NAME}-0-old", f"{NAME}-0-new"
NO = "no"


@dataclass
class State:
    """An endpoint before a deployment and what happens to that: the error, words of it or of the output, and the
    version that serves then. `things`: of the service, by the name of their attribute; `refuse`: codes by call;
    `meanwhile`: while it updates; `stays`: the same command doesn't help."""

    words: str = ""
    serves: str = "1"
    error: type[SluiceError] | None = None
    endpoint: Thing | None = field(default_factory=lambda: Thing(OLD, "InService"))
    things: dict[str, Any] = field(default_factory=dict)
    refuse: dict[str, str] = field(default_factory=dict)
    meanwhile: Callable[[Played], Any] | None = None
    stays: bool = False

    def begin(self, played: Played, meanwhile: dict[str, Callable[[], Any]]) -> None:
        if self.endpoint:
            played.service.endpoints[NAME] = replace(self.endpoint)
        for name, value in self.things.items():
            setattr(played.service, name, list(value) if isinstance(value, list) else value)
        played.refuse |= {call: (code, NO) for call, code in self.refuse.items()}
        if happens := self.meanwhile:
            meanwhile["updating"] = lambda: happens(played)


def expire(played: Played) -> None:
    played.refuse["DescribeEndpoint"] = ("ExpiredTokenException", NO)


SLOW = {"ticks": 3}
STATES = {
    "failed before": State("it is deleted", endpoint=Thing(OLD, "Failed", reason="no /ping")),
    "another is under way": State("updating", endpoint=Thing(OLD, "Updating", pending=NEW, left=2)),
    "another is taken back": State(endpoint=Thing(OLD, "Updating", pending=NEW, end="RolledBack")),
    "another fails": State("it is deleted", endpoint=Thing(OLD, "Creating", end="Failed")),
    "AWS maintains it": State("systemupdating", endpoint=Thing(OLD, "SystemUpdating", left=3)),
    "it is being deleted": State("deleting", endpoint=Thing(OLD, "Deleting", left=2)),
    "two configurations serve": State("side by side", "0", SluiceError, Thing(OLD, "UpdateRollbackFailed"), stays=True),
    "an alarm rings": State("errors", "0", CanaryStopped, things={"outcomes": ["RolledBack"]}, stays=True),
    "the first one fails": State("ping health check", "1", SluiceError, None, {"outcomes": ["Failed"]}),
    "it is deleted by hand": State(
        "was deleted", "", SluiceError, things=SLOW, meanwhile=lambda played: played.service.endpoints.pop(NAME)
    ),
    "another is approved meanwhile": State("meanwhile", "2", things=SLOW, meanwhile=lambda _: approved()),
    "the quota refuses it": State("quota", "0", SluiceError, refuse={"UpdateEndpoint": "ResourceLimitExceeded"}),
    "credentials expire": State("what has begun is picked up", "0", SluiceError, things=SLOW, meanwhile=expire),
    "a right is missing": State("not allowed", "0", SluiceError, refuse={"CreateModel": "AccessDeniedException"}),
}


@pytest.mark.parametrize("state", STATES.values(), ids=STATES)
def test_each_state_ends_where_the_reference_says(
    played: Played, run: Deploy, meanwhile: dict[str, Callable[[], Any]], state: State
) -> None:
    approved()
    state.begin(played, meanwhile)
    if state.error is None:
        assert state.words in "\n".join(run())
        assert (live(played).status, live(played).pending) == ("InService", "")
    else:
        with pytest.raises(state.error, match=state.words):
            run()
    assert (version(played) if NAME in played.service.endpoints else "") == state.serves
    played.refuse.clear()  # with the reason gone, the same command succeeds
    if not state.stays:
        run()
        assert live(played).status == "InService"
    if state.meanwhile is expire:
        assert played.count("UpdateEndpoint") == 1


@pytest.mark.parametrize(("endpoint", "outcome"), [(None, "Failed"), (Thing(OLD, "InService"), "RolledBack")])
def test_a_deployment_that_another_run_began_is_followed_and_not_tried_twice(
    played: Played, run: Deploy, meanwhile: dict[str, Callable[[], Any]], endpoint: Thing | None, outcome: str
) -> None:
    approved()
    State(endpoint=endpoint, things=SLOW | {"outcomes": [outcome]}).begin(played, meanwhile)
    meanwhile["is on its way"] = lambda: expire(played)
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
