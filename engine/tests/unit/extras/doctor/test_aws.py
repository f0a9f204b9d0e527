import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.model import OperationModel

from sluice.core.project import Project
from sluice.extras.doctor import aws
from sluice.extras.doctor.check import Diagnosis, DiagnosisScope
from support.aws.moto_server import aws_server, make_stack
from support.aws.role_policies import lets_in
from support.aws.service_model import REQUESTS
from unit.core.starter import STARTER

ROOT = Path(__file__).resolve().parents[5]
ISSUER = "https://token.actions.githubusercontent.com"
BUCKETS = [f"assistant-{kind}-123456789012" for kind in ("data", "artefacts", "mlflow")]


@pytest.fixture
def names() -> Project:
    changes = {"name": "assistant", "organisation": "octo", "environments": ("pre", "live")}
    return STARTER.model_copy(update=changes)


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch, names: Project, checkout: Path, loopback: None) -> Iterator[None]:  # noqa: ARG001
    """An account in which a person did what the doctor says, and nothing else."""
    with aws_server(monkeypatch, region=names.region):
        played_eks()
        follow(checkout, {one.fix for one in look(checkout, names, EKS_CLUSTER="blue").values() if not one.good})
        # What moto does not make of a template.
        boto3.client("iam").create_open_id_connect_provider(Url=ISSUER, ClientIDList=["sts.amazonaws.com"])
        s3 = boto3.client("s3")
        closed = dict.fromkeys(
            ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True
        )
        for bucket in BUCKETS:
            s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
            s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=closed)
        yield


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for overlay in ("pre", "live"):
        path = tmp_path / "k8s" / "overlays" / overlay / "kustomization.yaml"
        path.parent.mkdir(parents=True)
        path.write_text(f"literals:\n  - artefacts=s3://assistant-artefacts-{overlay}\n")  # as `sluice init` leaves it
    path.write_text(f"{path.read_text()}components:\n  - ../../../engine/k8s/components/llm-vllm\n")
    return tmp_path


def follow(checkout: Path, fixes: set[str]) -> None:
    numbers = {"OwnerId": "123", "RepositoryId": "456"}  # which GitHub tells the command
    for fix in fixes:
        if written := re.fullmatch(r"write (\S+) into (\S+)", fix):
            path = checkout / written[2]
            path.write_text(re.sub(r"artefacts=\S+", written[1], path.read_text()))
            continue
        if fix.startswith("aws eks create-pod-identity-association "):
            words = shlex.split(re.sub(r"\$\(.*\)", "arn:aws:iam::123456789012:role/assistant-serving", fix))
            keys = {"--cluster-name": "clusterName", "--namespace": "namespace"}
            keys |= {"--service-account": "serviceAccount", "--role-arn": "roleArn"}
            given = {key: words[words.index(option) + 1] for option, key in keys.items()}
            boto3.client("eks").create_pod_identity_association(**given)
            continue
        command, parameters = fix.split(" --parameter-overrides ")
        template = ROOT / command.split()[command.split().index("--template-file") + 1]
        make_stack(template, **dict(word.split("=", 1) for word in shlex.split(parameters)) | numbers)


def played_eks() -> None:
    """Answer for EKS, whose associations moto lacks."""
    made: list[dict[str, str]] = []

    def answer(model: OperationModel, **_: Any) -> tuple[Any, dict[str, Any]]:
        asked = REQUESTS[-1][2]
        if model.name == "CreatePodIdentityAssociation":
            made.append({**asked, "associationId": f"a-{len(made)}"})
        return SimpleNamespace(status_code=200), {"associations": [one for one in made if asked.items() <= one.items()]}

    assert boto3.DEFAULT_SESSION
    boto3.DEFAULT_SESSION.events.register("before-call.eks", answer)


def look(checkout: Path, names: Project, **variables: str) -> dict[str, Diagnosis]:
    environment = {**os.environ, "GITHUB_REPOSITORY": names.repository, **variables}
    return {one.what: one for one in aws.check(DiagnosisScope(checkout, names, environment))}


@pytest.mark.usefixtures("account")
def test_the_bootstrap_stack_is_all_that_is_needed(checkout: Path, names: Project) -> None:
    found = look(checkout, names, EKS_CLUSTER="blue")
    assert {what: one.found for what, one in found.items() if one.state != "ok"} == {}
    subjects = "repo:octo/assistant:environment:live or repo:octo@123/assistant@456:environment:live"
    assert found["role assistant-deploy-live"].found == f"for {subjects}, on main alone"
    pods = {what.removeprefix("pods ") for what in found if what.startswith("pods ")}
    assert (len(found), pods) == (16, {"assistant-pre/sluice", "assistant-live/sluice", "assistant-live/vllm"})
    assert all(lets_in(serving_trust(), {}, ("blue", *pod.split("/"))) for pod in pods)
    assert not lets_in(serving_trust(), {}, ("blue", "sluice-live", "sluice"))


def serving_trust() -> dict[str, Any]:
    document = boto3.client("iam").get_role(RoleName="assistant-serving")["Role"]["AssumeRolePolicyDocument"]
    return dict(document["Statement"][0])


@pytest.mark.usefixtures("account")
def test_a_role_for_other_pods_is_found(checkout: Path, names: Project) -> None:
    found = look(checkout, names, EKS_CLUSTER="green")["role assistant-serving"]
    assert (found.state, found.fix.endswith(" Production=live Cluster=green")) == ("missing", True)
    statement = serving_trust()
    statement["Condition"]["StringEquals"]["aws:RequestTag/kubernetes-service-account"] = "assistant"
    trust("assistant-serving", **statement)
    found = look(checkout, names)["role assistant-serving"]
    assert (found.state, "trusts assistant in assistant-pre, " in found.found) == ("missing", True)
    statement["Condition"]["StringEquals"]["aws:RequestTag/kubernetes-service-account"] = "sluice"
    trust("assistant-serving", **statement)
    assert look(checkout, names)["role assistant-serving"].state == "missing", "the vLLM of live reads adapters"


@pytest.mark.usefixtures("account")
def test_a_default_branch_of_another_name_is_the_one_that_roles_are_asked_for(checkout: Path, names: Project) -> None:
    subprocess.run(["git", "init", "--quiet", str(checkout)], check=True)
    head = ["symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/trunk"]
    subprocess.run(["git", "-C", str(checkout), *head], check=True)
    found = look(checkout, names)["role assistant-deploy-live"]
    assert (found.state, found.fix.endswith(" Branch=trunk")) == ("missing", True)
    live = boto3.client("iam").get_role(RoleName="assistant-deploy-live")["Role"]["AssumeRolePolicyDocument"]
    condition = live["Statement"][0]["Condition"]
    condition["StringEquals"]["token.actions.githubusercontent.com:ref"] = "refs/heads/trunk"
    trust("assistant-deploy-live", condition)
    now = look(checkout, names)["role assistant-deploy-live"]
    assert (now.state, now.found.endswith("on trunk alone")) == ("ok", True)


def trust(role: str, condition: dict[str, Any] | None = None, **changed: Any) -> None:
    statement = {
        "Effect": "Allow",
        "Principal": {"Federated": "arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com"},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": condition,
        **changed,
    }
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    boto3.client("iam").update_assume_role_policy(RoleName=role, PolicyDocument=document)


@pytest.mark.usefixtures("account")
def test_a_role_that_trusts_others_too_is_found(checkout: Path, names: Project) -> None:
    issuer = "token.actions.githubusercontent.com"
    audience = {f"{issuer}:aud": "sts.amazonaws.com"}
    live = {
        **audience,
        f"{issuer}:ref": "refs/heads/main",
        f"{issuer}:repository_id": "456",
        f"{issuer}:sub": [
            "repo:octo/assistant:environment:live",
            "repo:octo@123/assistant@456:environment:live",
        ],
    }
    trust("assistant-deploy-live", {"StringEquals": live})
    assert look(checkout, names)["role assistant-deploy-live"].state == "ok"
    for condition, words in (
        ({"StringEquals": audience}, "anybody who signs in"),
        ({"StringEquals": audience, "StringLike": {f"{issuer}:sub": "repo:octo/*"}}, "repo:octo/*"),
        ({"StringEquals": {**audience, f"{issuer}:sub": "repo:octo/assistant:pull_request"}}, "pull_request"),
        ({"StringEquals": {**audience, f"{issuer}:sub": "repo:octo/assistant:environment:live"}}, "environment:live"),
        ({"StringEquals": {**live, f"{issuer}:ref": "refs/heads/other"}}, "not the condition of"),
        ({"StringEquals": {**live, f"{issuer}:repository_id": "789"}}, "not the condition of"),
        ({"StringEquals": live, "StringLike": {f"{issuer}:ref": "*"}}, "not the condition of"),
    ):
        trust("assistant-deploy-live", condition)
        found = look(checkout, names)["role assistant-deploy-live"]
        assert found.state == "missing"
        assert words in found.found
        assert "aws cloudformation deploy --template-file engine/aws/bootstrap.yaml" in found.fix
        assert 'Repository=octo/assistant OwnerId="$(gh api repos/octo/assistant --jq .owner.id)"' in found.fix


@pytest.mark.usefixtures("account")
def test_in_a_run_of_a_workflow_the_numbers_are_compared_too(checkout: Path, names: Project) -> None:
    right = {"GITHUB_REPOSITORY_OWNER_ID": "123", "GITHUB_REPOSITORY_ID": "456"}
    for variables, state in ((right, "ok"), ({**right, "GITHUB_REPOSITORY_ID": "45"}, "missing")):
        assert look(checkout, names, **variables)["role assistant-build"].state == state


@pytest.mark.usefixtures("account")
def test_buckets_images_and_addresses_that_fall_short(checkout: Path, names: Project) -> None:
    s3 = boto3.client("s3")
    s3.put_bucket_versioning(Bucket=BUCKETS[0], VersioningConfiguration={"Status": "Suspended"})
    s3.delete_public_access_block(Bucket=BUCKETS[1])
    s3.delete_bucket(Bucket=BUCKETS[2])
    boto3.client("ecr").put_image_tag_mutability(repositoryName="assistant", imageTagMutability="MUTABLE")
    (checkout / "k8s/overlays/live/kustomization.yaml").write_text("- artefacts=s3://of-nobody\n")
    found = look(checkout, names)
    assert found[f"bucket {BUCKETS[0]}"].found == "not versioned"
    assert found[f"bucket {BUCKETS[1]}"].good is False
    assert found[f"bucket {BUCKETS[2]}"].found == "not there"
    assert found["images assistant"].found == "its tags can be moved"
    assert found["artefacts of live"].found == "no bucket of-nobody"
    assert BUCKETS[1] in found["artefacts of live"].fix
    assert found["artefacts of pre"].state == "ok"


@pytest.mark.usefixtures("loopback")
def test_an_empty_account_has_none_of_it(checkout: Path, names: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    with aws_server(monkeypatch, region=names.region):
        states = {one.what: one.state for one in look(checkout, names).values()}
    assert states.pop("account") == "ok"
    assert set(states.values()) == {"missing"}


@pytest.mark.usefixtures("loopback")
def test_nothing_is_verified_when_aws_does_not_answer(
    checkout: Path, names: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in (
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:9"),
        ("AWS_ACCESS_KEY_ID", "testing"),
        ("AWS_SECRET_ACCESS_KEY", "testing"),
    ):
        monkeypatch.setenv(key, value)
    assert [one.state for one in look(checkout, names).values()] == ["not verified"]
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    (only,) = look(checkout, names).values()
    assert (only.state, only.fix) == ("not verified", "aws sso login, or set AWS_PROFILE")
