"""Model packages in the SageMaker registry, one for each adapter that passed its gates.

MLflow's alias says which adapter is live. The approval of the adapter's package follows it: promoted is Approved,
stopped or rolled back is Rejected. The sha256 of the adapter links the two.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from sluice.extras.sagemaker.aws_clients import asking, client
from sluice.extras.sagemaker.settings import read
from sluice.release.manifest import Manifest

Approval = Literal["Approved", "Rejected"]
_KEY = "adapter_sha256"


def name_adapter(sagemaker: Any, package: str, sha256: str) -> None:
    """Writes into a package which adapter it holds."""
    with asking(package):
        sagemaker.update_model_package(ModelPackageArn=package, CustomerMetadataProperties={_KEY: sha256})


def follow_champion(config: Path) -> Callable[[Manifest, bool, str], None] | None:
    """What approves or rejects the packages of a release's adapter; None where SageMaker is not set up."""
    settings = read(config)
    if settings is None or not settings.is_set_up:
        return None

    def follow(manifest: Manifest, approved: bool, why: str) -> None:
        sha256 = manifest.adapter.sha256 if manifest.adapter else None
        decide(config, sha256, "Approved" if approved else "Rejected", f"{manifest.id}: {why}")

    return follow


def decide(config: Path, sha256: str | None, approval: Approval, why: str) -> list[str]:
    """Approves or rejects the packages of an adapter; returns those that were changed.

    Nothing is asked where SageMaker is not set up or a release has no adapter; one that was trained elsewhere has no
    package. SluiceError when SageMaker could not be asked: then the two are not in step, and the caller stops.
    """
    settings = read(config)
    if settings is None or not settings.is_set_up or sha256 is None:
        return []
    sagemaker = client("sagemaker", settings.region)
    changed = []
    for package in _packages_of(sagemaker, settings.model_package_group, sha256):
        if package["ModelApprovalStatus"] == approval:
            continue
        with asking(package["ModelPackageArn"]):
            sagemaker.update_model_package(
                ModelPackageArn=package["ModelPackageArn"],
                ModelApprovalStatus=approval,
                ApprovalDescription=why[:1024],
            )
        changed.append(str(package["ModelPackageArn"]))
    return changed


def newest_approved(sagemaker: Any, group: str) -> dict[str, Any] | None:
    """What SageMaker knows of the package that was approved last, None when there is none."""
    with asking(group):
        listed = sagemaker.list_model_packages(
            ModelPackageGroupName=group,
            ModelApprovalStatus="Approved",
            SortBy="CreationTime",
            SortOrder="Descending",
            MaxResults=1,
        )["ModelPackageSummaryList"]
        if not listed:
            return None
        found: dict[str, Any] = sagemaker.describe_model_package(ModelPackageName=listed[0]["ModelPackageArn"])
        return found


def _packages_of(sagemaker: Any, group: str, sha256: str) -> list[dict[str, Any]]:
    from botocore.exceptions import ClientError

    found = []
    with asking(group):
        try:
            pages = [*sagemaker.get_paginator("list_model_packages").paginate(ModelPackageGroupName=group)]
        except ClientError as error:  # the first run that passes its gates makes the group
            if "does not exist" in str(error):
                return []
            raise
        for page in pages:
            for one in page["ModelPackageSummaryList"]:
                package = sagemaker.describe_model_package(ModelPackageName=one["ModelPackageArn"])
                if package.get("CustomerMetadataProperties", {}).get(_KEY) == sha256:
                    found.append(package)
    return found
