"""A SageMaker endpoint that serves the latest approved package: blue/green deployment with automatic rollback on
alarms.

The new machines stand beside the old ones; a share of the traffic goes to them first, the rest after `wait_seconds`.
Until then, and while it moves, any of the named alarms makes SageMaker take the traffic back.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from sluice.core.errors import CanaryStopped, SluiceError
from sluice.extras.sagemaker.aws_clients import asking, look_up
from sluice.extras.sagemaker.packages import newest_approved
from sluice.extras.sagemaker.settings import EndpointSettings, SageMakerSettings

_UNDER_WAY = ("Creating", "Updating", "SystemUpdating", "RollingBack")
_VARIANT = "live"
Say = Callable[[str], None]


def deploy(sagemaker: Any, cloudwatch: Any, settings: SageMakerSettings, say: Say) -> str:
    """Makes the endpoint serve the package, and waits until it does; returns the name of its configuration.

    Once it serves it, nothing is done; one that is on its way is followed. CanaryStopped when it was taken back,
    SluiceError when it could not be made or something that it needs is missing; then nothing was begun.
    """
    endpoint = settings.endpoint
    if endpoint is None:
        raise SluiceError(
            "config/sagemaker.yaml: endpoint: is not set",
            remedy="engine/docs/reference/sagemaker.md has an example",
        )
    package = newest_approved(sagemaker, settings.model_package_group)
    if package is None:
        raise SluiceError(
            f"{settings.model_package_group}: no package is approved",
            remedy="promote a release that was trained there: its package is approved with it",
        )
    _require_alarms(cloudwatch, endpoint)
    wanted = f"{endpoint.name}-{package['ModelPackageVersion']}"
    live = _describe(sagemaker, endpoint.name)
    if live and live["EndpointStatus"] in _UNDER_WAY:
        say(f"{endpoint.name}: {live['EndpointStatus'].lower()} already")
    elif live and live["EndpointConfigName"] == wanted and live["EndpointStatus"] == "InService":
        say(f"{endpoint.name}: serves {wanted} already")
        return wanted
    else:
        _prepare(sagemaker, settings, endpoint, wanted, package["ModelPackageArn"])
        _begin(sagemaker, endpoint, wanted, first=live is None)
        say(f"{endpoint.name}: {wanted} is on its way")
    _follow(sagemaker, settings, endpoint, wanted, say)
    return wanted


def _require_alarms(cloudwatch: Any, endpoint: EndpointSettings) -> None:
    with asking("alarms"):
        found = cloudwatch.describe_alarms(AlarmNames=list(endpoint.alarms))
    there = {one["AlarmName"]: one["StateValue"] for one in found["MetricAlarms"] + found.get("CompositeAlarms", [])}
    if missing := [name for name in endpoint.alarms if name not in there]:
        raise SluiceError(
            f"config/sagemaker.yaml: endpoint.alarms: CloudWatch has no {', '.join(missing)}",
            remedy="make them first: without alarms nothing would take a bad deployment back",
        )
    if ringing := [name for name, state in there.items() if state == "ALARM"]:
        raise SluiceError(
            f"{', '.join(ringing)} rings already: a deployment would be taken back at once",
            remedy="look at what is live first",
        )


def _prepare(sagemaker: Any, settings: SageMakerSettings, endpoint: EndpointSettings, name: str, package: str) -> None:
    """Model and configuration; what an earlier attempt has made is taken as it is."""
    with asking(name):
        if not look_up(sagemaker.describe_model, ModelName=name):
            container = {"ModelPackageName": package}
            sagemaker.create_model(ModelName=name, PrimaryContainer=container, ExecutionRoleArn=settings.role)
        if not look_up(sagemaker.describe_endpoint_config, EndpointConfigName=name):
            variant = {
                "VariantName": _VARIANT,
                "ModelName": name,
                "InstanceType": endpoint.instance_type,
                "InitialInstanceCount": endpoint.instances,
            }
            sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])


def _begin(sagemaker: Any, endpoint: EndpointSettings, wanted: str, *, first: bool) -> None:
    with asking(endpoint.name):
        if first:  # nothing is live, so there is nothing to go back to
            sagemaker.create_endpoint(EndpointName=endpoint.name, EndpointConfigName=wanted)
            return
        sagemaker.update_endpoint(
            EndpointName=endpoint.name, EndpointConfigName=wanted, DeploymentConfig=deployment_config(endpoint)
        )


def deployment_config(endpoint: EndpointSettings) -> dict[str, Any]:
    """How the traffic moves, and what takes it back."""
    return {
        "BlueGreenUpdatePolicy": {
            "TrafficRoutingConfiguration": {
                "Type": "CANARY",
                "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": endpoint.canary_percent},
                "WaitIntervalInSeconds": endpoint.wait_seconds,
            },
            "TerminationWaitInSeconds": endpoint.wait_seconds,
        },
        "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": name} for name in endpoint.alarms]},
    }


def _follow(sagemaker: Any, settings: SageMakerSettings, endpoint: EndpointSettings, wanted: str, say: Say) -> None:
    shown = ""
    while True:
        live = _describe(sagemaker, endpoint.name)
        status = live["EndpointStatus"] if live else "Deleted"
        if status != shown:
            say(f"{endpoint.name}: {status.lower()}")
            shown = status
        if live is None or status not in _UNDER_WAY:
            break
        time.sleep(settings.poll_seconds)
    reason = live.get("FailureReason", "") if live else ""
    if live and status == "InService":
        if live["EndpointConfigName"] == wanted:
            return
        raise CanaryStopped(
            f"{endpoint.name}: {wanted} was taken back: {reason or 'an alarm rang'}",
            remedy=f"{live['EndpointConfigName']} is live; the alarms of config/sagemaker.yaml say more",
        )
    raise SluiceError(
        f"{endpoint.name}: {status.lower()}{f': {reason}' if reason else ''}",
        remedy=f"the logs of the container are in /aws/sagemaker/Endpoints/{endpoint.name}",
    )


def _describe(sagemaker: Any, name: str) -> dict[str, Any] | None:
    with asking(name):
        found: dict[str, Any] | None = look_up(sagemaker.describe_endpoint, EndpointName=name)
        return found
