"""A SageMaker endpoint that serves the latest approved package, from whatever state it is found in.

Without components it is a blue/green deployment: new machines stand beside the old ones; a share of the traffic goes to
them first, the rest after `wait_seconds`. Until then, and while it moves, any of the named alarms makes SageMaker take
the traffic back. With components an approved package is an adapter beside those before it, on one base model. A release
asks its own (`component` of its provider in config/providers.yaml), so that a canary compares two adapters on the same
machines, and going back is asking the one before.

The command holds no state: it looks, does the one step that leads on, and looks again; the reference (sagemaker.md)
lists the states and where each of them ends.
"""

from __future__ import annotations

import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

from sluice.core.digests import digest_of_file
from sluice.core.errors import CanaryStopped, SluiceError
from sluice.extras.sagemaker.aws_clients import EndpointAccount, Say, asking, look_up
from sluice.extras.sagemaker.endpoint_requests import (
    EndpointRequests,
    adapter_component,
    base_component,
    deployment_config,
    requests_for,
    scale_component,
    scale_variant,
)
from sluice.extras.sagemaker.results import newest_approved
from sluice.extras.sagemaker.settings import EndpointComponents
from sluice.extras.sagemaker.sources import pack

_UNDER_WAY = ("Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting")
# "DeleteEndpoint is the only operation that can be performed on a failed endpoint": EndpointStatus in AWS's model.
_DEAD = ("Failed", "OutOfService")


def deploy(account: EndpointAccount, say: Say) -> str:
    """Makes the endpoint serve what was approved last, and waits until it does.

    What is served already stays, what is on its way is followed, what failed is deleted and made anew. What is approved
    meanwhile follows."""
    while True:
        package = _approved(account)
        _require_alarms(account)
        requests = requests_for(account.settings, account.endpoint, package)
        _reach(account, requests, say)
        served = requests.name
        if account.endpoint.components:
            served = _serve_adapter(account, account.endpoint.components, package, say)
        else:
            scale_variant(account, account.endpoint.scaling)
        if _approved(account)["ModelPackageArn"] == package["ModelPackageArn"]:
            say(f"{account.endpoint.name}: serves {served}")
            return served
        say(f"{account.endpoint.name}: another package was approved meanwhile")


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
    alarms = account.endpoint.alarms
    with asking("alarms"):  # composite ones come only where they are asked for
        found = account.cloudwatch.describe_alarms(
            AlarmNames=list(alarms), AlarmTypes=["MetricAlarm", "CompositeAlarm"]
        )
    listed = [*found.get("MetricAlarms", ()), *found.get("CompositeAlarms", ())]
    there = {one["AlarmName"]: one["StateValue"] for one in listed}
    if missing := [name for name in alarms if name not in there]:
        raise SluiceError(
            f"config/sagemaker.yaml: endpoint.alarms: CloudWatch has no {', '.join(missing)}",
            remedy="engine/aws/endpoint.yaml makes them: without alarms nothing would roll a bad deployment back",
        )
    if ringing := [name for name, state in there.items() if state == "ALARM"]:
        raise SluiceError(
            f"{', '.join(ringing)} is in alarm: a deployment would be rolled back at once",
            remedy="check the live endpoint first",
        )


def _reach(account: EndpointAccount, requests: EndpointRequests, say: Say) -> None:
    """Steps until the endpoint has this configuration. `tried`: it was on its way, by this command or before it."""
    tried = False
    while True:
        live, pending = _settled(account, say)
        tried = tried or requests.name in pending
        status = live["EndpointStatus"] if live else ""
        if live is None and tried:
            raise SluiceError(f"{account.endpoint.name}: was deleted", remedy="run the same command to create it again")
        if live is None:
            _prepare(account, requests)
            with asking(account.endpoint.name):
                account.sagemaker.create_endpoint(
                    EndpointName=account.endpoint.name, EndpointConfigName=requests.name, **_tags(account)
                )
        elif status in _DEAD:
            reason = live.get("FailureReason", "no reason given")
            if tried:
                raise SluiceError(
                    f"{account.endpoint.name}: {status.lower()}: {reason}",
                    remedy="the logs of its container say more, in /aws/sagemaker/Endpoints/"
                    f"{account.endpoint.name}; run the same command to delete it and create it again",
                )
            say(f"{account.endpoint.name}: {status.lower()}: {reason}; it is deleted")
            with asking(account.endpoint.name):
                account.sagemaker.delete_endpoint(EndpointName=account.endpoint.name)
            continue
        elif status != "InService":
            raise SluiceError(
                f"{account.endpoint.name}: {status}: old and new machines serve side by side",
                remedy="look at it in the console: AWS's guide on rolling deployments says how it is repaired",
            )
        elif live.get("EndpointConfigName") == requests.name:
            return
        elif tried:
            raise CanaryStopped(
                f"{account.endpoint.name}: {requests.name} was taken back: "
                f"{live.get('FailureReason') or 'an alarm rang'}",
                remedy=f"{live['EndpointConfigName']} is live; the alarms of config/sagemaker.yaml say more",
            )
        else:
            _prepare(account, requests)
            _update(account, requests)
        tried = True
        say(f"{account.endpoint.name}: {requests.name} is on its way")


def _settled(account: EndpointAccount, say: Say) -> tuple[dict[str, Any] | None, set[str]]:
    """Waits while something is under way. The endpoint then, and the configurations that were."""
    shown, pending = "", set[str]()
    while True:
        live = account.describe()
        status = live["EndpointStatus"] if live else ""
        if live is None or status not in _UNDER_WAY:
            return live, pending
        if status == "Creating":
            pending.add(live.get("EndpointConfigName", ""))
        pending.add(live.get("PendingDeploymentSummary", {}).get("EndpointConfigName", ""))
        if status != shown:
            say(f"{account.endpoint.name}: {status.lower()}")
            shown = status
        time.sleep(account.settings.poll_seconds)


def _prepare(account: EndpointAccount, requests: EndpointRequests) -> None:
    """Model and configuration; one of that name is the same, for it is named by what is in it."""
    with asking(requests.name):
        found = account.sagemaker
        if requests.model and not look_up(found.describe_model, ModelName=requests.name):
            found.create_model(**requests.model)
        if not look_up(found.describe_endpoint_config, EndpointConfigName=requests.name):
            found.create_endpoint_config(**requests.config)


def _tags(account: EndpointAccount) -> dict[str, Any]:
    return {"Tags": account.settings.aws_tags} if account.settings.aws_tags else {}


def _update(account: EndpointAccount, requests: EndpointRequests) -> None:
    """With a canary, unless components hold the models: then it is the machines alone that change. How many there are
    is kept where they are scaled: SageMaker would go back to the number that it began with."""
    how: dict[str, Any] = {}
    if not account.endpoint.components:
        how["DeploymentConfig"] = deployment_config(account.endpoint)
        if account.endpoint.scaling:
            how["RetainAllVariantProperties"] = True
    with asking(account.endpoint.name):
        account.sagemaker.update_endpoint(EndpointName=account.endpoint.name, EndpointConfigName=requests.name, **how)


def _serve_adapter(account: EndpointAccount, components: EndpointComponents, package: dict[str, Any], say: Say) -> str:
    """Serves the adapter of a package beside those before it; the oldest ones above `keep` go."""
    artifact = _artifact(account, package)
    base = base_component(account.settings, account.endpoint, components)
    _reach_component(account, base, say)
    scale_component(account, account.endpoint.scaling, base["InferenceComponentName"])
    adapter = adapter_component(
        account.endpoint, package["ModelPackageVersion"], base["InferenceComponentName"], artifact
    )
    _reach_component(account, adapter, say)
    served = str(adapter["InferenceComponentName"])
    _prune(account, components.keep, served, say)
    return served


def _artifact(account: EndpointAccount, package: dict[str, Any]) -> str:
    """The PEFT adapter of a package as an archive of its own, in the bucket under its digest."""
    (container,) = package["InferenceSpecification"]["Containers"]
    bucket, _, key = str(container["ModelDataUrl"]).removeprefix("s3://").partition("/")
    with tempfile.TemporaryDirectory() as scratch:
        whole, archive, folder = (Path(scratch) / name for name in ("model.tar.gz", "adapter.tar.gz", "model"))
        with asking(container["ModelDataUrl"]):
            account.s3.download_file(bucket, key, str(whole))
        with tarfile.open(whole) as content:
            content.extractall(folder, filter="data")
        peft = folder / "peft"
        if not (peft / "adapter_config.json").is_file():
            raise SluiceError(
                f"{package['ModelPackageArn']}: has no PEFT adapter, which is what a GPU serves",
                remedy="train with `exports: [gguf, peft]` in pipelines/params.yaml, and promote that",
            )
        pack(peft, peft.rglob("*"), archive)
        digest = digest_of_file(archive)
        made = f"{account.settings.prefix}/adapters/{digest}.tar.gz"
        with asking(made):  # the same bytes under the same name, whether they are there or not
            account.s3.upload_file(str(archive), account.settings.bucket, made)
        return account.settings.uri("adapters", f"{digest}.tar.gz")


def _reach_component(account: EndpointAccount, request: dict[str, Any], say: Say) -> None:
    """Steps until the component is in service; one that was found failed is deleted and made anew."""
    name, tried, shown = str(request["InferenceComponentName"]), False, ""
    while True:
        found = _describe(account, name)
        status = found["InferenceComponentStatus"] if found else ""
        if status != shown:
            say(f"{name}: {status.lower() or 'gone'}")
            shown = status
        if status == "InService":
            return
        if status in _UNDER_WAY:
            tried = tried or status != "Deleting"
            time.sleep(account.settings.poll_seconds)
        elif tried:
            raise SluiceError(
                f"{name}: {found.get('FailureReason', 'failed') if found else 'was deleted'}",
                remedy="the logs of its container say more, in /aws/sagemaker/InferenceComponents/"
                f"{name}; run the same command to create it again",
            )
        elif found:
            with asking(name):
                account.sagemaker.delete_inference_component(InferenceComponentName=name)
        else:
            with asking(name):
                account.sagemaker.create_inference_component(**request, **_tags(account))
            tried = True


def _prune(account: EndpointAccount, keep: int, served: str, say: Say) -> None:
    """Adapters above `keep` go, the oldest first, and then the bases that none is left of."""
    listed: list[dict[str, Any]] = []
    with asking(account.endpoint.name):
        pages = account.sagemaker.get_paginator("list_inference_components").paginate(
            EndpointNameEquals=account.endpoint.name, SortBy="CreationTime", SortOrder="Descending"
        )
        for page in pages:
            for one in page["InferenceComponents"]:
                listed.append(
                    account.sagemaker.describe_inference_component(InferenceComponentName=one["InferenceComponentName"])
                )
    base_of = {
        one["InferenceComponentName"]: one.get("Specification", {}).get("BaseInferenceComponentName", "")
        for one in listed
    }
    adapters = [name for name, base in base_of.items() if base]
    kept = [served, *(name for name in adapters if name != served)][:keep]
    needed = {base_of[name] for name in kept}
    gone = [name for name in adapters if name not in kept]
    gone += [name for name, base in base_of.items() if not base and name not in needed]
    for name in gone:
        say(f"{name}: deleted, {keep} are kept")
        with asking(name):
            account.sagemaker.delete_inference_component(InferenceComponentName=name)
        while base_of[name] and _describe(account, name):  # a base stays as long as an adapter of it is there
            time.sleep(account.settings.poll_seconds)


def _describe(account: EndpointAccount, name: str) -> dict[str, Any] | None:
    with asking(name):
        found: dict[str, Any] | None = look_up(
            account.sagemaker.describe_inference_component, InferenceComponentName=name
        )
        return found
