# ruff: noqa: F811 - a fixture that is imported is named by the tests
"""The approval of a model package follows the champion, where SageMaker is set up; against moto's server."""

from typing import Any

import boto3
import pytest

from sluice.core.errors import SluiceError
from sluice.core.workspace import Workspace
from sluice.release import champion, mlflow_registry
from sluice.release.environment_record import EnvironmentRecord, here
from sluice.release.manifest import Manifest
from support.aws.played_sagemaker import Played
from support.aws.sagemaker_runs import make_jobs, make_package, write_settings
from unit.release.conftest import release_of, workspace  # noqa: F401 - a fixture


@pytest.fixture(autouse=True)
def settings(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    write_settings(workspace.config)
    monkeypatch.setattr(mlflow_registry, "promote_aliases", lambda *_: None)


def trained(workspace: Workspace, content: bytes, played: Played) -> tuple[Manifest, str]:
    """A release with an adapter of this content, and the package of that adapter."""
    (workspace.build / "adapter" / "adapter.gguf").write_bytes(content)
    manifest, _ = release_of(workspace)
    package = make_package(boto3.client("sagemaker"))
    assert manifest.adapter
    played.metadata[package] = {"adapter_sha256": manifest.adapter.sha256}
    return manifest, package


def approval(package: str) -> tuple[str, str]:
    found: Any = boto3.client("sagemaker").describe_model_package(ModelPackageName=package)
    return found["ModelApprovalStatus"], found.get("ApprovalDescription", "")


def promote(workspace: Workspace, release: str, **words: Any) -> None:
    champion.promote(workspace, here(workspace), release, **words)


def test_promoted_is_approved_and_stopped_is_rejected(workspace: Workspace, played: Played) -> None:
    first, package = trained(workspace, b"one", played)
    second, other = trained(workspace, b"two", played)
    promote(workspace, first.id, reason="every step held")
    assert approval(package) == ("Approved", f"{first.id}: every step held")
    assert approval(other)[0] == "PendingManualApproval"
    champion.reject(workspace, here(workspace), second.id, "too slow")
    assert approval(other) == ("Rejected", f"{second.id}: too slow")
    promote(workspace, second.id)
    promote(workspace, first.id, back=True, reason="by hand")
    assert approval(package)[0] == "Approved"
    assert approval(other) == ("Rejected", f"{second.id}: gone back from: by hand")


def test_an_environment_before_production_decides_nothing(workspace: Workspace, played: Played) -> None:
    manifest, package = trained(workspace, b"one", played)
    staging = EnvironmentRecord(here(workspace).store, "staging")
    champion.promote(workspace, staging, manifest.id)
    assert champion.champion_id(staging) == manifest.id
    assert approval(package)[0] == "PendingManualApproval"


def test_while_sagemaker_cannot_be_asked_nothing_is_promoted_or_refused(workspace: Workspace, played: Played) -> None:
    manifest, package = trained(workspace, b"one", played)
    played.refuse["UpdateModelPackage"] = ("ExpiredTokenException", "expired")
    with pytest.raises(SluiceError, match="no longer accepts the credentials"):
        champion.reject(workspace, here(workspace), manifest.id, "too slow")
    assert list(here(workspace).history()) == []
    with pytest.raises(SluiceError, match="no longer accepts the credentials"):
        promote(workspace, manifest.id)
    assert champion.champion_id(here(workspace)) is None
    played.refuse.clear()
    assert champion.settle(workspace, here(workspace)) == manifest.id
    assert approval(package)[0] == "Approved"


def test_an_adapter_without_a_package_is_promoted_and_before_the_first_run_there_is_no_group(
    workspace: Workspace, played: Played
) -> None:
    make_jobs()
    manifest, _ = release_of(workspace)
    promote(workspace, manifest.id)
    assert not played.asked("UpdateModelPackage")
    (workspace.build / "adapter" / "adapter.gguf").write_bytes(b"two")
    manifest, _ = release_of(workspace)
    played.refuse["ListModelPackages"] = ("ValidationException", "Model Package Group sluice-adapter does not exist.")
    promote(workspace, manifest.id)
    assert champion.champion_id(here(workspace)) == manifest.id


def test_where_sagemaker_is_not_set_up_nobody_is_asked(workspace: Workspace, played: Played) -> None:
    write_settings(workspace.config, role="")
    manifest, _ = trained(workspace, b"one", played)
    promote(workspace, manifest.id)
    other, _ = trained(workspace, b"two", played)
    champion.reject(workspace, here(workspace), other.id, "too slow")
    assert not [call for call, _ in played.calls if call.endswith("ModelPackages") or call.startswith("Update")]
