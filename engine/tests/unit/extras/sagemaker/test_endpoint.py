"""An endpoint that follows what was approved; against moto, with UpdateEndpoint played in front of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from sluice.core.errors import CanaryStopped, SluiceError
from sluice.extras.sagemaker.endpoint import deploy
from sluice.extras.sagemaker.settings import SageMakerSettings, require
from support.aws.sagemaker_runs import account, make_package, write_settings
from support.aws.sagemaker_server import Played

ENDPOINT = {"name": "assistant", "instance_type": "ml.m5.xlarge", "wait_seconds": 300, "alarms": ["errors", "latency"]}


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch, loopback: None) -> Iterator[Played]:  # noqa: ARG001 - this machine
    with account(monkeypatch) as found:
        yield found


@pytest.fixture
def settings(tmp_path: Path) -> SageMakerSettings:
    write_settings(tmp_path, endpoint=ENDPOINT)
    return require(tmp_path)


@pytest.fixture
def alarms(played: Played) -> None:  # noqa: ARG001 - the account
    for name in ENDPOINT["alarms"]:
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


Deploy = Callable[[], list[str]]


@pytest.fixture
def run(settings: SageMakerSettings, alarms: None) -> Deploy:  # noqa: ARG001 - they are there
    def call() -> list[str]:
        said: list[str] = []
        deploy(boto3.client("sagemaker"), boto3.client("cloudwatch"), settings, said.append)
        return said

    return call


def approved() -> str:
    sagemaker: Any = boto3.client("sagemaker")
    package = make_package(sagemaker)
    sagemaker.update_model_package(ModelPackageArn=package, ModelApprovalStatus="Approved")
    return package


def test_the_first_deployment_makes_the_endpoint_and_the_same_again_does_nothing(played: Played, run: Deploy) -> None:
    package = approved()
    assert run() == ["assistant: assistant-1 is on its way", "assistant: inservice"]
    made = boto3.client("sagemaker").describe_model(ModelName="assistant-1")
    assert made["PrimaryContainer"]["ModelPackageName"] == package
    assert run() == ["assistant: serves assistant-1 already"]
    assert played.count("CreateEndpoint") == 1


def test_the_next_one_moves_a_share_first_and_goes_back_by_alarms(played: Played, run: Deploy) -> None:
    approved()
    run()
    approved()
    config = {"EndpointConfigName": "assistant-2"}
    live = {"EndpointStatus": "InService", "EndpointConfigName": "assistant-1"}
    played.endpoints = [live, {"EndpointStatus": "Updating"}, {"EndpointStatus": "InService", **config}]
    assert run()[-2:] == ["assistant: updating", "assistant: inservice"]
    (asked,) = played.asked("UpdateEndpoint")
    assert asked["EndpointConfigName"] == "assistant-2"
    policy = asked["DeploymentConfig"]["BlueGreenUpdatePolicy"]["TrafficRoutingConfiguration"]
    assert policy == {
        "Type": "CANARY",
        "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 10},
        "WaitIntervalInSeconds": 300,
    }
    names = [one["AlarmName"] for one in asked["DeploymentConfig"]["AutoRollbackConfiguration"]["Alarms"]]
    assert names == ENDPOINT["alarms"]


def test_a_deployment_that_was_taken_back_is_said_to_be(played: Played, run: Deploy) -> None:
    approved()
    run()
    approved()
    back = {"EndpointStatus": "InService", "EndpointConfigName": "assistant-1", "FailureReason": "errors rang"}
    played.endpoints = [{"EndpointStatus": "InService"}, {"EndpointStatus": "RollingBack"}, back]
    with pytest.raises(CanaryStopped, match="assistant-2 was taken back: errors rang") as caught:
        run()
    assert "assistant-1 is live" in caught.value.remedy


def test_one_that_is_on_its_way_is_followed_and_one_that_failed_is_said(played: Played, run: Deploy) -> None:
    approved()
    run()
    played.endpoints = [{"EndpointStatus": "Updating"}, {"EndpointStatus": "Failed", "FailureReason": "no /ping"}]
    with pytest.raises(SluiceError, match="assistant: failed: no /ping"):
        run()
    assert played.count("UpdateEndpoint") == 0


def test_nothing_begins_without_a_package_an_alarm_or_settings(
    played: Played, settings: SageMakerSettings, tmp_path: Path
) -> None:
    clients = boto3.client("sagemaker"), boto3.client("cloudwatch")
    with pytest.raises(SluiceError, match="no package is approved"):
        deploy(*clients, settings, print)
    approved()
    with pytest.raises(SluiceError, match="CloudWatch has no errors, latency"):
        deploy(*clients, settings, print)
    write_settings(tmp_path)
    with pytest.raises(SluiceError, match="endpoint: is not set"):
        deploy(*clients, require(tmp_path), print)
    assert not [call for call, _ in played.calls if call.startswith(("CreateEndpoint", "UpdateEndpoint"))]


@pytest.mark.usefixtures("alarms")
def test_nothing_begins_while_an_alarm_rings(played: Played, run: Deploy) -> None:
    approved()
    boto3.client("cloudwatch").set_alarm_state(AlarmName="errors", StateValue="ALARM", StateReason="drill")
    with pytest.raises(SluiceError, match="errors rings already"):
        run()
    assert played.count("CreateEndpoint") == 0
