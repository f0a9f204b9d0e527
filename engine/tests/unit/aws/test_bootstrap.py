"""engine/aws/bootstrap.yaml, applied to moto.

Of a template moto makes roles, policies, repositories and encrypted buckets. It passes over the OIDC provider, bucket
policies, and whether buckets are versioned and closed; those are read from the template itself.
"""

import re
import subprocess
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml

from sluice.core.extras import extras
from support.aws.role_policies import lets_in
from unit.aws.conftest import REPOSITORY, ROOT, TEMPLATE, Make

CONDITIONS = ("LendsToAccount", "ReadsFromAccount", "MakesMlflow")
ROLES = ("build", "evaluation", "deploy-pre", "deploy-live", "serving", "sagemaker")
# Actions that AWS defines without a resource.
WITHOUT_RESOURCE = {
    "ecr:GetAuthorizationToken",
    "cloudwatch:PutMetricData",
    "cloudwatch:DescribeAlarms",
    "sagemaker:ListInferenceComponents",
    *(f"ec2:Describe{one}" for one in ("DhcpOptions", "NetworkInterfaces", "SecurityGroups", "Subnets", "Vpcs")),
}


class Loader(yaml.SafeLoader):
    """YAML with CloudFormation's short forms, each as {function: arguments}."""


def _short(loader: Loader, suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        assert isinstance(node, yaml.MappingNode)
        value = loader.construct_mapping(node, deep=True)
    return {suffix: value}


Loader.add_multi_constructor("!", _short)


def template(path: Path = TEMPLATE) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.load(path.read_text(), Loader=Loader)
    return loaded


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def chosen(document: dict[str, Any], holds: Collection[str] = ()) -> list[dict[str, Any]]:
    """Return the statements that a policy has where these conditions of the template hold."""
    found = []
    for one in as_list(document["Statement"]):
        condition, then, otherwise = one.get("If", (None, one, one))
        found.append(then if condition in holds else otherwise)
    return [one for one in found if one != {"Ref": "AWS::NoValue"}]


def policies(resources: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each statement that allows something and its resource, but for trust policies."""
    for name, resource in resources.items():
        properties = resource.get("Properties", {})
        documents = [one["PolicyDocument"] for one in properties.get("Policies", ())]
        documents += [properties["PolicyDocument"]] if "PolicyDocument" in properties else []
        for document in documents:
            yield from ((name, one) for one in chosen(document, CONDITIONS) if one["Effect"] == "Allow")


def too_wide(resources: dict[str, Any]) -> list[str]:
    """Return the statements with a wildcard for an action or for the resource."""
    found = []
    for name, statement in policies(resources):
        actions = set(as_list(statement.get("Action", "*")))
        if "NotAction" in statement or "NotResource" in statement:
            found.append(f"{name}: all but something")
        if any("*" in action for action in actions):
            found.append(f"{name}: {sorted(actions)}")
        if "*" in as_list(statement.get("Resource", "*")) and not actions <= WITHOUT_RESOURCE:
            found.append(f"{name}: {sorted(actions)} on everything")
    return found


def parsed(document: Any) -> dict[str, Any]:
    """Read a policy, which moto gives as Python's text if CloudFormation made it; that is YAML."""
    found: dict[str, Any] = yaml.safe_load(document) if isinstance(document, str) else document
    return found


def managed(arn: str) -> list[dict[str, Any]]:
    """Return the statements of a managed policy."""
    iam = boto3.client("iam")
    version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
    held = iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]
    return as_list(parsed(held["Document"])["Statement"])


def trust(role: str) -> dict[str, Any]:
    document = boto3.client("iam").get_role(RoleName=f"assistant-{role}")["Role"]["AssumeRolePolicyDocument"]
    (statement,) = document["Statement"]
    return dict(statement)


# What GitHub says of a run on main of octo/assistant, number 456 of owner 123.
def of_workflow(name: str, branch: str = "main") -> dict[str, str]:
    ref = f"refs/heads/{branch}"
    return {"ref": ref, "job_workflow_ref": f"{REPOSITORY}/.github/workflows/{name}@{ref}"}


MAIN = {"aud": "sts.amazonaws.com", "repository": REPOSITORY, "repository_id": "456", **of_workflow("release.yml")}
IMMUTABLE = "repo:octo@123/assistant@456"


@pytest.mark.usefixtures("stack")
def test_a_role_is_for_runs_of_main_outside_or_inside_of_one_environment() -> None:
    subjects = {
        "build": ["ref:refs/heads/main", "environment:evaluation"],
        "evaluation": ["environment:evaluation"],
        "deploy-pre": ["environment:pre"],
        "deploy-live": ["environment:live"],
    }
    everything = list(dict.fromkeys(one for some in subjects.values() for one in some))
    for role, own in subjects.items():
        document = trust(role)
        for repository in (f"repo:{REPOSITORY}", IMMUTABLE):
            let_in = [one for one in everything if lets_in(document, {**MAIN, "sub": f"{repository}:{one}"})]
            assert let_in == own


@pytest.mark.usefixtures("stack")
def test_the_job_that_answers_pull_requests_builds_nothing() -> None:
    """It is in the environment `evaluation`, as the job `release` is."""
    token = {**MAIN, "sub": f"{IMMUTABLE}:environment:evaluation"}
    takes = {
        path.name for path in (ROOT / ".github/workflows").glob("*.yml") if "vars.AWS_ROLE_ARN }}" in path.read_text()
    }
    takes -= {"deploy-release.yml", "rollback.yml"}  # in environments of their own, with roles of their own
    for path in (ROOT / ".github/workflows").glob("*.yml"):
        claims = {**token, **of_workflow(path.name)}
        assert lets_in(trust("build"), claims) is (path.name in takes), path.name
        assert lets_in(trust("evaluation"), claims)


OTHERS: list[dict[str, str]] = [
    {"sub": f"{IMMUTABLE}:pull_request", "ref": "refs/pull/7/merge"},
    {"sub": f"{IMMUTABLE}:ref:refs/heads/other", "ref": "refs/heads/other"},
    {"sub": f"{IMMUTABLE}:ref:refs/tags/main", "ref": "refs/tags/main"},
    {"sub": f"{IMMUTABLE}:environment:other"},
    {"sub": f"{IMMUTABLE}:environment:live", "ref": "refs/heads/other"},
    {"sub": f"repo:{REPOSITORY}:environment:live", "ref": "refs/pull/7/merge"},
    {"sub": f"{IMMUTABLE}:environment:live:job_workflow_ref:x"},
    {"sub": f"{IMMUTABLE}:environment:live", "aud": "https://github.com/octo"},
    {"sub": "repo:octo@123/assistant@789:environment:live", "repository_id": "789"},
    {"sub": "repo:octo@999/assistant@456:environment:live"},
    {"sub": f"repo:{REPOSITORY}:environment:live", "repository_id": "789"},
    {"sub": f"repo:{REPOSITORY}:ref:refs/heads/main", "repository_id": ""},
    {"sub": "repo:octo@123/*:environment:live"},
    {"sub": "*"},
]


@pytest.mark.usefixtures("stack")
def test_nobody_else_is_let_in() -> None:
    for role in ("build", "evaluation", "deploy-pre", "deploy-live"):
        document = trust(role)
        assert not [claims for claims in OTHERS if lets_in(document, {**MAIN, **claims})], role
    token = {**MAIN, "sub": f"{IMMUTABLE}:ref:refs/heads/main"}
    document = trust("build")
    assert lets_in(document, token)
    for absent in ("aud", "sub", "ref", "repository_id", "job_workflow_ref"):
        assert not lets_in(document, {name: value for name, value in token.items() if name != absent}), absent


def test_where_the_default_branch_has_another_name_it_is_let_in_and_main_is_not(make: Make) -> None:
    make(Branch="trunk")
    for branch, roles in (("trunk", ["build"]), ("main", [])):
        token = {**MAIN, **of_workflow("release.yml", branch), "sub": f"{IMMUTABLE}:ref:refs/heads/{branch}"}
        assert [role for role in ("build", "deploy-live") if lets_in(trust(role), token)] == roles
    token = {**MAIN, "ref": "refs/heads/trunk", "sub": f"{IMMUTABLE}:environment:live"}
    assert lets_in(trust("deploy-live"), token)


@pytest.mark.usefixtures("stack")
def test_no_role_is_for_pull_requests_or_for_anybody() -> None:
    listed = boto3.client("iam").list_roles()["Roles"]
    assert {role["RoleName"] for role in listed} == {f"assistant-{role}" for role in ROLES}
    for role in ROLES:
        statement = trust(role)
        assert "pull_request" not in str(statement)
        assert "*" not in str(statement)
    for role, service in (("serving", "pods.eks.amazonaws.com"), ("sagemaker", "sagemaker.amazonaws.com")):
        statement = trust(role)
        assert statement["Principal"] == {"Service": service}
        assert "aws:SourceAccount" in statement["Condition"]["StringEquals"]
    namespaces = trust("serving")["Condition"]["StringEquals"]["aws:RequestTag/kubernetes-namespace"]
    assert namespaces == ["assistant-pre", "assistant-live"]


def test_a_stack_of_another_name_takes_the_pods_of_the_namespaces_it_is_given(make: Make) -> None:
    make(Namespaces="assistant-local,desk-live", Cluster="blue")
    spaces = ("assistant-local", "desk-live", "assistant-live")
    assert [lets_in(trust("serving"), {}, ("blue", one, "sluice")) for one in spaces] == [True, True, False]


@pytest.mark.usefixtures("stack")
def test_an_environment_writes_its_own_record_and_nothing_else() -> None:
    iam = boto3.client("iam")
    for environment in ("pre", "live"):
        name = f"assistant-deploy-{environment}"
        (attached,) = iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]
        assert attached["PolicyName"] == "assistant-deploy"
        document = parsed(iam.get_role_policy(RoleName=name, PolicyName="record")["PolicyDocument"])
        (statement,) = document["Statement"]
        assert statement["Action"] == "s3:PutObject"
        ends = [one.partition(":assistant-artefacts-123456789012/record/")[2] for one in statement["Resource"]]
        assert ends == [f"{environment}/*", f"refused/{environment}/*"]
    actions = {action for one in managed(attached["PolicyArn"]) for action in as_list(one["Action"])}
    assert all(action.split(":")[1].startswith(("Get", "List", "BatchGet", "Describe")) for action in actions)


MODELS = (
    "arn:aws:bedrock:eu-west-3::foundation-model/anthropic.claude-haiku-5-5",
    "arn:aws:sagemaker:eu-west-3:123456789012:endpoint/answers",
)


def test_who_asks_models_for_pull_requests_may_do_nothing_else(make: Make) -> None:
    make(Models=",".join(MODELS))
    iam = boto3.client("iam")
    assert iam.list_role_policies(RoleName="assistant-evaluation")["PolicyNames"] == []
    for role in ("evaluation", "build", "serving", "sagemaker"):
        (attached,) = iam.list_attached_role_policies(RoleName=f"assistant-{role}")["AttachedPolicies"]
        assert attached["PolicyName"] == "assistant-models"
    (statement,) = managed(attached["PolicyArn"])
    # Answers are streamed; for Converse, too, Bedrock asks for the rights of InvokeModel.
    calls = ("bedrock:InvokeModel", "sagemaker:InvokeEndpoint")
    assert set(statement["Action"]) == {*calls, *(f"{call}WithResponseStream" for call in calls)}
    assert statement["Resource"] == list(MODELS)


def test_only_artefacts_are_removed_by_main_alone_and_can_be_brought_back() -> None:
    resources = template()["Resources"]
    removing = [(name, one) for name, one in policies(resources) if "s3:DeleteObject" in as_list(one["Action"])]
    ((name, statement),) = removing
    assert (name, statement["Resource"]) == ("BuildRole", {"Sub": "${Artefacts.Arn}/sha256/*"})
    rules = resources["Artefacts"]["Properties"]["LifecycleConfiguration"]["Rules"]
    kept = {rule["Prefix"]: rule for rule in rules if "NoncurrentVersionExpiration" in rule}
    assert set(kept) == {"sha256/", "training/checkpoints/"}
    assert kept["sha256/"]["NoncurrentVersionExpiration"]["NoncurrentDays"] == 30
    assert [prefix for prefix, rule in kept.items() if "ExpirationInDays" in rule] == ["training/checkpoints/"]


def test_no_policy_is_wider_than_what_it_names() -> None:
    resources = template()["Resources"]
    assert len(list(policies(resources))) >= 30
    assert too_wide(resources) == []


def test_sagemaker_is_the_only_role_that_is_passed_on() -> None:
    passing = [
        (name, one) for name, one in policies(template()["Resources"]) if "iam:PassRole" in as_list(one["Action"])
    ]
    assert [name for name, _ in passing] == ["BuildRole", "ProductionRole", "SageMakerRole"]
    for _, statement in passing:
        assert statement["Condition"] == {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}}
        assert re.search(r"SageMakerRole|-sagemaker$", str(statement["Resource"]).rstrip("'}"))


def test_buckets_are_encrypted_versioned_closed_kept_and_refuse_what_is_not_tls() -> None:
    resources = template()["Resources"]
    buckets = {name for name, one in resources.items() if one["Type"] == "AWS::S3::Bucket"}
    for name in buckets:
        properties = resources[name]["Properties"]
        (rule,) = properties["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        assert rule["ServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
        assert properties["VersioningConfiguration"] == {"Status": "Enabled"}
        closed = properties["PublicAccessBlockConfiguration"]
        assert (len(closed), set(closed.values())) == (4, {True})
        assert properties["OwnershipControls"] == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    assert buckets == {"Data", "Artefacts", "Tracking"}
    covered = set()
    for resource in resources.values():
        if resource["Type"] == "AWS::S3::BucketPolicy":
            statements = chosen(resource["Properties"]["PolicyDocument"])
            assert {one["Effect"] for one in statements} == {"Deny"}
            (statement,) = [one for one in statements if one["Sid"] == "OverTlsOnly"]
            assert (statement["Effect"], statement["Action"], statement["Principal"]) == ("Deny", "s3:*", "*")
            assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
            name = resource["Properties"]["Bucket"]["Ref"]
            assert statement["Resource"] == [{"GetAtt": f"{name}.Arn"}, {"Sub": f"${{{name}.Arn}}/*"}]
            covered.add(name)
    assert covered == buckets
    for name in (*buckets, "Images"):
        assert resources[name]["DeletionPolicy"] == resources[name]["UpdateReplacePolicy"] == "Retain"


def test_tags_of_images_never_move(stack: dict[str, str]) -> None:
    (images,) = boto3.client("ecr").describe_repositories()["repositories"]
    assert images["imageTagMutability"] == "IMMUTABLE"
    assert template()["Resources"]["Images"]["Properties"]["ImageScanningConfiguration"] == {"ScanOnPush": True}
    assert stack["Images"] == images["repositoryUri"]
    assert stack["Artefacts"] == "s3://assistant-artefacts-123456789012"


def test_the_database_is_private_encrypted_and_kept() -> None:
    resources = template(ROOT / "engine" / "aws" / "database.yaml")["Resources"]
    database = resources["Database"]
    assert (database["DeletionPolicy"], database["UpdateReplacePolicy"]) == ("Snapshot", "Snapshot")
    properties = database["Properties"]
    assert properties["PubliclyAccessible"] is False
    assert properties["StorageEncrypted"] is properties["DeletionProtection"] is True
    assert properties["ManageMasterUserPassword"] is True  # of the administrator: RDS changes it every seven days
    assert resources["ServicePassword"]["Properties"]["Name"] == {"Sub": "${Name}/database-password"}
    assert not [one for one in resources.values() if one["Type"] == "AWS::SecretsManager::RotationSchedule"]
    assert resources["ServicePassword"]["DeletionPolicy"] == "Retain"
    assert "MasterUserPassword" not in properties
    assert resources["Settings"]["Properties"]["Parameters"] == {"rds.force_ssl": "1"}
    (rule,) = resources["Access"]["Properties"]["SecurityGroupIngress"]
    assert (rule["FromPort"], rule["ToPort"], rule["SourceSecurityGroupId"]) == (5432, 5432, {"Ref": "Clients"})


def test_an_entry_of_a_record_is_never_changed() -> None:
    """The policy refuses what does not say If-None-Match, and the store does (unit/release)."""
    statements = chosen(template()["Resources"]["ArtefactsPolicy"]["Properties"]["PolicyDocument"], CONDITIONS)
    (statement,) = [one for one in statements if one["Sid"] == "RecordsAreAppendedTo"]
    assert statement["Resource"] == {"Sub": "${Artefacts.Arn}/record/*"}
    assert statement["Condition"] == {"Null": {"s3:if-none-match": "true"}}


def signed_in() -> Iterator[tuple[str, dict[str, Any], int]]:
    """Jobs of the workflows that take a role for longer than the hour that AWS gives unasked: name, job, seconds."""
    for path in sorted((ROOT / ".github" / "workflows").glob("*.yml")):
        for name, job in yaml.safe_load(path.read_text())["jobs"].items():
            for step in job.get("steps", ()):
                if "configure-aws-credentials@" in step.get("uses", "") and job["timeout-minutes"] > 60:
                    yield f"{path.name}: {name}", job, int(step["with"].get("role-duration-seconds", 3600))


def test_a_session_lasts_as_long_as_its_job_and_the_role_allows_it() -> None:
    """A canary that outlives its session loses the cluster, and the promotion at its end."""
    resources = template()["Resources"]
    jobs = list(signed_in())
    assert {name for name, _, _ in jobs} >= {"deploy-release.yml: deploy", "release.yml: release"}
    for name, job, seconds in jobs:
        of_build = job.get("environment", "evaluation") == "evaluation"
        roles = ["BuildRole"] if of_build else ["StagingRole", "ProductionRole"]
        most = min(resources[role]["Properties"]["MaxSessionDuration"] for role in roles)
        assert job["timeout-minutes"] * 60 <= seconds <= most, name


def test_cfn_lint_finds_nothing() -> None:
    program = Path(sys.executable).with_name("cfn-lint")
    files = sorted((ROOT / "engine" / "aws").glob("*.yaml"))
    optional = {"endpoint.yaml"} if "sagemaker" in extras() else set()
    assert {path.name for path in files} == {"bootstrap.yaml", "database.yaml"} | optional
    done = subprocess.run([str(program), *files], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
