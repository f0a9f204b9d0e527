"""Adapters as inference components: one base model, and beside it the adapters of the packages approved last.

A release asks its own (`component` of its provider in config/providers.yaml), so that a canary compares two adapters on
the same machines, and going back is asking the one before.
"""

from __future__ import annotations

import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

from sluice.core.digests import digest_of_file
from sluice.core.errors import SluiceError
from sluice.extras.sagemaker.aws_clients import asking, look_up
from sluice.extras.sagemaker.endpoint_account import EndpointAccount, Say
from sluice.extras.sagemaker.endpoint_requests import adapter_component, base_component
from sluice.extras.sagemaker.endpoint_scaling import scale_component
from sluice.extras.sagemaker.endpoint_settings import EndpointComponents
from sluice.extras.sagemaker.source_archives import pack

_UNDER_WAY = ("Creating", "Updating", "Deleting")


def serve_adapter(account: EndpointAccount, components: EndpointComponents, package: dict[str, Any], say: Say) -> str:
    """Serves the adapter of a package beside those before it; the oldest ones above `keep` go."""
    artifact = _artifact(account, package)
    base = base_component(account.settings, account.endpoint, components)
    _reach(account, base, say)
    scale_component(account, account.endpoint.scaling, base["InferenceComponentName"])
    adapter = adapter_component(
        account.endpoint, package["ModelPackageVersion"], base["InferenceComponentName"], artifact
    )
    _reach(account, adapter, say)
    _prune(account, components.keep, str(adapter["InferenceComponentName"]), say)
    return str(adapter["InferenceComponentName"])


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


def _reach(account: EndpointAccount, request: dict[str, Any], say: Say) -> None:
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
                tags = {"Tags": account.settings.aws_tags} if account.settings.aws_tags else {}
                account.sagemaker.create_inference_component(**request, **tags)
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
