"""Checks of an account, which is moto's, with quotas, which moto lacks, by botocore's stubber."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from sluice.extras.doctor.check import Diagnosis, DiagnosisScope
from sluice.extras.sagemaker.doctor import checks
from support.aws.moto_server import aws_server
from support.aws.role_policies import allows, statements
from support.aws.sagemaker_runs import BUCKET, REGION, ROLE, write_settings
from unit.aws.conftest import TEMPLATE
from unit.aws.test_bootstrap import template
from unit.core.starter import STARTER

IMAGE = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/training:1"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loopback: None) -> Iterator[DiagnosisScope]:  # noqa: ARG001
    names = STARTER.model_copy(update={"region": REGION})
    write_settings(tmp_path / "config", image=IMAGE)
    with aws_server(monkeypatch, region=REGION):
        boto3.client("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        boto3.client("iam").create_role(RoleName="sluice-sagemaker", AssumeRolePolicyDocument="{}")
        ecr = boto3.client("ecr")
        ecr.create_repository(repositoryName="training")
        kind = "application/vnd.docker.distribution.manifest.v2+json"
        manifest = json.dumps({"schemaVersion": 2, "mediaType": kind, "layers": [], "config": {"digest": "sha256:0"}})
        ecr.put_image(repositoryName="training", imageManifest=manifest, imageManifestMediaType=kind, imageTag="1")
        yield DiagnosisScope(tmp_path, names, {})


def look(place: DiagnosisScope, **quotas: float) -> dict[str, Diagnosis]:
    """`quotas`: of processing and spot training; 4 and 1 where they are not named. That of endpoints is a default."""
    values = {"processing": 4.0, "spot": 1.0, **quotas}
    listed = [
        {"QuotaName": "ml.m5.xlarge for processing job usage", "QuotaCode": "L-1", "Value": values["processing"]},
        {"QuotaName": "ml.m5.xlarge for spot training job usage", "QuotaCode": "L-2", "Value": values["spot"]},
    ]

    def client(service: str) -> Any:
        made = boto3.client(service)  # type: ignore[call-overload]
        if service == "service-quotas":
            stub = Stubber(made)
            stub.add_response("list_service_quotas", {"Quotas": listed}, {"ServiceCode": "sagemaker"})
            defaults = [{"QuotaName": "ml.g5.xlarge for endpoint usage", "QuotaCode": "L-3", "Value": 2.0}]
            stub.add_response("list_aws_default_service_quotas", {"Quotas": defaults}, {"ServiceCode": "sagemaker"})
            stub.activate()
        return made

    return {what: check() for what, check in checks(place, client)}


def test_an_account_that_has_all_of_it(place: DiagnosisScope) -> None:
    found = look(place)
    assert {what: one.found for what, one in found.items() if one.state != "ok"} == {}
    assert list(found) == [
        "SageMaker: region",
        "SageMaker: names",
        "SageMaker: role",
        "SageMaker: bucket",
        "SageMaker: image",
        "quota ml.m5.xlarge for spot training job usage",
        "quota ml.m5.xlarge for processing job usage",
    ]


def test_a_quota_of_none_is_found_with_the_command_that_asks_for_more(place: DiagnosisScope) -> None:
    found = look(place, spot=0)["quota ml.m5.xlarge for spot training job usage"]
    assert (found.state, found.found) == ("missing", "0, and a run takes 1")
    assert "--quota-code L-2 --desired-value 1" in found.fix


def test_an_endpoint_has_a_quota_for_old_and_new_machines_and_a_budget(place: DiagnosisScope) -> None:
    endpoint = {"name": "sluice-assistant", "instance_type": "ml.g5.xlarge", "alarms": ["errors"]}
    write_settings(place.root / "config", image=IMAGE, endpoint=endpoint)
    found = look(place)
    assert found["quota ml.g5.xlarge for endpoint usage"].found == "2, and a run takes 4"
    assert "--quota-code L-3 --desired-value 4" in found["quota ml.g5.xlarge for endpoint usage"].fix
    assert (found["budget"].state, "MonthlyUsd" in found["budget"].fix) == ("optional", True)
    properties = template(TEMPLATE.with_name("endpoint.yaml"))["Resources"]["Budget"]["Properties"]["Budget"]
    assert "${Endpoint}-sagemaker" in str(properties["BudgetName"])
    made = {"BudgetName": "sluice-assistant-sagemaker", "BudgetLimit": {"Amount": "900", "Unit": "USD"}}
    kind: Any = {"TimeUnit": properties["TimeUnit"], "BudgetType": properties["BudgetType"]}
    boto3.client("budgets").create_budget(AccountId="123456789012", Budget=made | kind)
    assert (look(place)["budget"].state, look(place)["budget"].found) == ("ok", "900 USD a month")


def test_another_region_role_and_image_are_found(place: DiagnosisScope) -> None:
    other = ROLE.replace("role/", "role/elsewhere/")
    write_settings(place.root / "config", region="us-east-1", image=IMAGE.replace(":1", ":2"), role=other)
    found = look(place)
    assert found["SageMaker: region"].fix == "set region: eu-west-1 in config/sagemaker.yaml"
    assert found["SageMaker: role"].fix == f"set role: {ROLE} in config/sagemaker.yaml"
    assert found["SageMaker: image"].state == "missing"
    own = "763104351884.dkr.ecr.eu-west-1.amazonaws.com/pytorch-training:2.9.0-gpu-py312-cu130-ubuntu22.04-sagemaker"
    write_settings(place.root / "config", image=own)
    assert look(place)["SageMaker: image"].found == f"{own}, of another account", "which is not looked for in this one"


def test_names_that_the_roles_of_the_project_may_not_use_are_found(place: DiagnosisScope) -> None:
    renamed = dataclasses.replace(place, names=place.names.model_copy(update={"name": "helpdesk"}))
    secrets = {"HF_TOKEN": "sluice/training/hub"}  # pragma: allowlist secret
    write_settings(place.root / "config", image=IMAGE, secrets=secrets)
    found = look(renamed)["SageMaker: names"]
    assert found.found == "the roles of helpdesk may not use sluice-train, sluice-adapter, sluice/training/hub"
    assert found.fix.endswith("helpdesk-… for sluice-adapter, helpdesk/training/… for sluice/training/hub")
    arns = [f"arn:aws:sagemaker:{REGION}:123456789012:pipeline/{name}-train" for name in ("sluice", "helpdesk")]
    held = statements(template(), "BuildRole")  # of the stack sluice
    assert [allows(held, "sagemaker:StartPipelineExecution", arn, {}) for arn in arns] == [True, False]


def test_where_it_is_not_set_up_that_is_said_and_is_no_fault(place: DiagnosisScope) -> None:
    write_settings(place.root / "config", role="", prices={})
    (only,) = look(place).values()
    assert (only.state, only.found) == ("optional", "not set up: role, prices.ml.m5.xlarge")
    (place.root / "config" / "sagemaker.yaml").unlink()
    assert look(place) == {}
