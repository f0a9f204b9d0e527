"""Deployment of the package that was approved last to a SageMaker endpoint, which itself is the record of what serves.

Without components it is a blue/green deployment with a canary, which the named alarms turn back. With components each
package is an adapter beside those before it, on one base model; a release asks for its own (`component` of its provider
in config/providers.yaml).
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Literal

from botocore import xform_name
from botocore.waiter import WaiterModel, create_waiter_with_client

from sluice.core.errors import CanaryStopped, SluiceError
from sluice.extras.sagemaker.aws_clients import EndpointAccount, Say, asking, look_up
from sluice.extras.sagemaker.endpoint_requests import (
    adapter_component,
    base_component,
    endpoint_requests,
    scale,
    update_options,
)
from sluice.extras.sagemaker.results import download, newest_approved, unpack
from sluice.extras.sagemaker.settings import EndpointComponents
from sluice.extras.sagemaker.sources import send

Kind = Literal["Endpoint", "InferenceComponent"]
# "DeleteEndpoint is the only operation that can be performed on a failed endpoint": EndpointStatus in AWS's model.
_DEAD = ("Failed", "OutOfService")
_SETTLED = (*_DEAD, "InService", "UpdateRollbackFailed")
_LONGEST = 24 * 3600  # seconds; SageMaker ends its own steps earlier


def deploy(account: EndpointAccount, say: Say) -> str:
    """Deploy what was approved last, or is approved meanwhile, and return the name of what serves."""
    name = account.endpoint.name
    while True:
        package = _approved(account)
        _require_alarms(account)
        served = _serve_package(account, package, say)
        if account.endpoint.components:
            served = _serve_adapter(account, account.endpoint.components, package, say)
        else:
            scale(account)
        if _approved(account)["ModelPackageArn"] == package["ModelPackageArn"]:
            say(f"{name}: serves {served}")
            return served
        say(f"{name}: another package was approved meanwhile")


def _approved(account: EndpointAccount) -> dict[str, Any]:
    group = account.settings.model_package_group
    package = newest_approved(account.sagemaker, group)
    if package is None:
        raise SluiceError(
            f"{group}: no package is approved",
            remedy="promote a release that was trained there: its package is approved with it",
        )
    return package


def _require_alarms(account: EndpointAccount) -> None:
    names = [*account.endpoint.alarms]
    with asking("alarms"):  # composite ones come only where they are asked for
        found = account.cloudwatch.describe_alarms(AlarmNames=names, AlarmTypes=["MetricAlarm", "CompositeAlarm"])
    listed = [*found.get("MetricAlarms", ()), *found.get("CompositeAlarms", ())]
    states = {alarm["AlarmName"]: alarm["StateValue"] for alarm in listed}
    if missing := [name for name in names if name not in states]:
        raise SluiceError(
            f"config/sagemaker.yaml: endpoint.alarms: CloudWatch has no {', '.join(missing)}",
            remedy="engine/aws/endpoint.yaml makes them: without alarms nothing would roll a bad deployment back",
        )
    if ringing := [name for name, state in states.items() if state == "ALARM"]:
        raise SluiceError(
            f"{', '.join(ringing)} is in alarm: a deployment would be rolled back at once",
            remedy="check the live endpoint first",
        )


def _serve_package(account: EndpointAccount, package: dict[str, Any], say: Say) -> str:
    """Create or update the endpoint, and return the name of its configuration once that serves."""
    sagemaker, name = account.sagemaker, account.endpoint.name
    model, config = endpoint_requests(account.settings, account.endpoint, package)
    wanted = str(config["EndpointConfigName"])
    before = _describe(account, "Endpoint", name) or {}
    # Another run may have begun this deployment: its canary is the verdict, and isn't tried twice.
    if before.get("PendingDeploymentSummary", {}).get("EndpointConfigName") != wanted:
        live = _usable(account, "Endpoint", name, say)
        if live is None or (live["EndpointStatus"] == "InService" and live["EndpointConfigName"] != wanted):
            with asking(wanted):  # a model or configuration of that name is the same, for the name has its digest
                if model and not look_up(sagemaker.describe_model, ModelName=wanted):
                    sagemaker.create_model(**model)
                if not look_up(sagemaker.describe_endpoint_config, EndpointConfigName=wanted):
                    sagemaker.create_endpoint_config(**config)
            names = {"EndpointName": name, "EndpointConfigName": wanted}
            with asking(name):
                if live is None:
                    sagemaker.create_endpoint(**names, **_tags(account))
                else:
                    sagemaker.update_endpoint(**names, **update_options(account.endpoint))
            say(f"{name}: {wanted} is on its way")
    live = _running(account, "Endpoint", name, say)
    if live["EndpointStatus"] != "InService":
        raise SluiceError(
            f"{name}: {live['EndpointStatus']}: old and new machines serve side by side",
            remedy="look at it in the console: AWS's guide on rolling deployments says how it is repaired",
        )
    if live["EndpointConfigName"] != wanted:
        raise CanaryStopped(
            f"{name}: {wanted} was taken back: {live.get('FailureReason') or 'an alarm rang'}",
            remedy=f"{live['EndpointConfigName']} is live; the alarms of config/sagemaker.yaml say more",
        )
    return wanted


def _tags(account: EndpointAccount) -> dict[str, Any]:
    return {"Tags": account.settings.aws_tags} if account.settings.aws_tags else {}


def _serve_adapter(account: EndpointAccount, components: EndpointComponents, package: dict[str, Any], say: Say) -> str:
    """Serve the adapter of a package beside those before it; the oldest ones above `keep` are deleted."""
    artifact = _send_adapter(account, package)
    base = base_component(account.settings, account.endpoint, components)
    base_name = base["InferenceComponentName"]
    _create_component(account, base, say)
    scale(account, base_name)
    adapter = adapter_component(account.endpoint, package["ModelPackageVersion"], base_name, artifact)
    _create_component(account, adapter, say)
    served = str(adapter["InferenceComponentName"])
    _prune(account, components.keep, served, say)
    return served


def _send_adapter(account: EndpointAccount, package: dict[str, Any]) -> str:
    """Put the PEFT adapter of a package into the bucket as an archive of its own; return its address."""
    (container,) = package["InferenceSpecification"]["Containers"]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        download(account.s3, container["ModelDataUrl"], folder)
        unpack(folder / Path(container["ModelDataUrl"]).name, folder / "model")
        peft = folder / "model" / "peft"
        if not (peft / "adapter_config.json").is_file():
            raise SluiceError(
                f"{package['ModelPackageArn']}: has no PEFT adapter, which is what a GPU serves",
                remedy="train with `exports: [gguf, peft]` in pipelines/params.yaml, and promote that",
            )
        return send(account.s3, account.settings, peft, peft.rglob("*"), "adapters/{digest}.tar.gz")


def _create_component(account: EndpointAccount, request: dict[str, Any], say: Say) -> None:
    """Create a component unless it is there, and wait until it serves."""
    name = str(request["InferenceComponentName"])
    if _usable(account, "InferenceComponent", name, say) is None:
        with asking(name):
            account.sagemaker.create_inference_component(**request, **_tags(account))
    _running(account, "InferenceComponent", name, say)


def _prune(account: EndpointAccount, keep: int, served: str, say: Say) -> None:
    """Delete the oldest adapters above `keep`, and then the bases that have none left."""
    sagemaker, bases = account.sagemaker, dict[str, str]()
    with asking(account.endpoint.name):
        pages = sagemaker.get_paginator("list_inference_components").paginate(
            EndpointNameEquals=account.endpoint.name, SortBy="CreationTime", SortOrder="Descending"
        )
        for name in pages.search("InferenceComponents[].InferenceComponentName"):
            found = sagemaker.describe_inference_component(InferenceComponentName=name)
            bases[name] = found.get("Specification", {}).get("BaseInferenceComponentName", "")
    adapters = [name for name, base in bases.items() if base]
    kept = [served, *(name for name in adapters if name != served)][:keep]
    needed = {*kept, *(bases[name] for name in kept)}
    for name in sorted((name for name in bases if name not in needed), key=lambda name: not bases[name]):
        say(f"{name}: deleted, {keep} are kept")
        with asking(name):
            sagemaker.delete_inference_component(InferenceComponentName=name)
        if bases[name]:  # adapters come first: a base can't be deleted while one of it is there
            _settled(account, "InferenceComponent", name, say)


def _describe(account: EndpointAccount, kind: Kind, name: str) -> dict[str, Any] | None:
    describe = getattr(account.sagemaker, xform_name(f"Describe{kind}"))
    with asking(name):
        found: dict[str, Any] | None = look_up(describe, **{f"{kind}Name": name})
    return found


def _settled(account: EndpointAccount, kind: Kind, name: str, say: Say) -> dict[str, Any] | None:
    """Wait while a change is under way; return the endpoint or component, None if there is none."""
    found = _describe(account, kind, name)
    if found is None or found[f"{kind}Status"] in _SETTLED:
        return found
    say(f"{name}: {found[f'{kind}Status'].lower()}")
    # botocore has no waiter for components, and its waiter for endpoints ignores UpdateRollbackFailed.
    acceptors: list[dict[str, str]] = [
        {"matcher": "path", "argument": f"{kind}Status", "expected": status, "state": "success"} for status in _SETTLED
    ]
    acceptors.append({"matcher": "error", "expected": "ValidationException", "state": "success"})
    delay = account.settings.poll_seconds
    waits = {"delay": delay, "maxAttempts": int(_LONGEST / delay), "acceptors": acceptors}
    model = WaiterModel({"version": 2, "waiters": {kind: {"operation": f"Describe{kind}", **waits}}})
    with asking(name):
        create_waiter_with_client(kind, model, account.sagemaker).wait(**{f"{kind}Name": name})
    return _describe(account, kind, name)


def _usable(account: EndpointAccount, kind: Kind, name: str, say: Say) -> dict[str, Any] | None:
    """As `_settled`, but what had failed before is deleted."""
    found = _settled(account, kind, name, say)
    if found and found[f"{kind}Status"] in _DEAD:
        say(f"{name}: {_failure(found, kind)}; it is deleted")
        with asking(name):
            getattr(account.sagemaker, xform_name(f"Delete{kind}"))(**{f"{kind}Name": name})
        return _settled(account, kind, name, say)
    return found


def _running(account: EndpointAccount, kind: Kind, name: str, say: Say) -> dict[str, Any]:
    """As `_settled`, but SluiceError if it is gone or has failed."""
    found = _settled(account, kind, name, say)
    if found is None:
        raise SluiceError(f"{name}: was deleted", remedy="run the same command to create it again")
    if found[f"{kind}Status"] in _DEAD:
        raise SluiceError(
            f"{name}: {_failure(found, kind)}",
            remedy=f"the logs of its container say more, in /aws/sagemaker/{kind}s/{name}; run the same command to"
            " delete it and create it again",
        )
    return found


def _failure(found: dict[str, Any], kind: Kind) -> str:
    return f"{found[f'{kind}Status'].lower()}: {found.get('FailureReason', 'no reason given')}"
