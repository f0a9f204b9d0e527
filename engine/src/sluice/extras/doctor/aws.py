"""Checks an AWS account: the resources of engine/aws/bootstrap.yaml and the trust policies of its roles."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from sluice.core.errors import SluiceError
from sluice.core.extras import hooks
from sluice.core.git import run
from sluice.extras.doctor.check import Diagnosis, DiagnosisScope, passed, unverified
from sluice.extras.doctor.github import repository_of

_GITHUB = "token.actions.githubusercontent.com"
_AUDIENCE = "sts.amazonaws.com"
_MAIN = "main"
_CLUSTER = "EKS_CLUSTER"  # the workflows' variable
_TAGS = ("eks-cluster-name", "kubernetes-namespace", "kubernetes-service-account")  # of EKS Pod Identity
_STACK = (
    "aws cloudformation deploy --template-file engine/aws/bootstrap.yaml --stack-name {name} --region {region}"
    " --capabilities CAPABILITY_NAMED_IAM --parameter-overrides Name={name} Repository={repository}"
    ' OwnerId="$(gh api repos/{repository} --jq .owner.id)" RepositoryId="$(gh api repos/{repository} --jq .id)"'
    " Staging={environments[0]} Production={environments[1]}"
)
# What AWS answers when something is not there, in the words of each service.
_ABSENT = {"NoSuchEntity", "NoSuchBucket", "404", "RepositoryNotFoundException"}
_CLOSED = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")


def check(scope: DiagnosisScope) -> Iterator[Diagnosis]:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    config = Config(connect_timeout=5, read_timeout=10, retries={"max_attempts": 2})

    def client(service: str) -> Any:
        return boto3.client(service, region_name=scope.names.region, config=config)

    try:
        account = client("sts").get_caller_identity()["Account"]
    except (BotoCoreError, ClientError) as error:
        yield unverified("account", f"AWS does not know who asks: {error}", "aws sso login, or set AWS_PROFILE")
        return
    yield passed("account", f"{account}, region {scope.names.region}")
    stack = _STACK.format(**dict(scope.names), repository=repository_of(scope) or scope.names.repository)
    stack += "" if (branch := _branch(scope)) == _MAIN else f" Branch={branch}"
    stack += f" Cluster={cluster}" if (cluster := scope.environment.get(_CLUSTER)) else ""
    for what, look in _checks(scope, client, account, stack):
        try:
            yield look()
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            if code in _ABSENT:
                yield Diagnosis(what, "missing", "not there", stack)
            else:
                yield unverified(what, str(error), "ask with an account that may read IAM, S3, ECR and EKS")
        except BotoCoreError as error:
            yield unverified(what, str(error), "check the network and run it again")


Client = Callable[[str], Any]
_BUILDING = ("release", "nightly", "train")  # not answer-requests, which is in the environment `evaluation` too


def _checks(
    scope: DiagnosisScope, client: Client, account: str, stack: str
) -> Iterator[tuple[str, Callable[[], Diagnosis]]]:
    names, iam, s3 = scope.names, client("iam"), client("s3")
    repository = repository_of(scope) or names.repository
    yield "sign-in from GitHub", partial(_provider, iam, stack)
    # A release is made in the environment that holds the keys of hosted models.
    roles = {"build": [f"ref:refs/heads/{_branch(scope)}", "environment:evaluation"]}
    roles |= {f"deploy-{name}": [f"environment:{name}"] for name in names.environments}
    for role, subjects in roles.items():
        ways = ways_in(scope, repository, subjects, _BUILDING if role == "build" else ())
        yield f"role {names.name}-{role}", partial(trust, iam, f"{names.name}-{role}", ways, stack)
    serving = f"{names.name}-serving"
    yield f"role {serving}", partial(_pods, iam, scope, serving, stack)
    if cluster := scope.environment.get(_CLUSTER):
        for pod in _reading_pods(scope):
            yield "pods {}/{}".format(*pod), partial(_association, client("eks"), cluster, *pod, serving)
    yield f"images {names.name}", partial(_images, client("ecr"), names.name, stack)
    for kind in ("data", "artefacts", "mlflow"):
        bucket = f"{names.name}-{kind}-{account}"
        yield f"bucket {bucket}", partial(_bucket, s3, bucket, stack)
    for overlay in names.environments:
        yield f"artefacts of {overlay}", partial(_artefacts, s3, scope, overlay, account)
    for checks in hooks("account").values():
        yield from checks(scope, client, stack)


def _provider(iam: Any, fix: str) -> Diagnosis:
    what = "sign-in from GitHub"
    listed = [one["Arn"] for one in iam.list_open_id_connect_providers()["OpenIDConnectProviderList"]]
    found = next((arn for arn in listed if arn.endswith(f"/{_GITHUB}")), "")
    if not found:
        return Diagnosis(what, "missing", "no OIDC provider for GitHub Actions", fix)
    if _AUDIENCE not in iam.get_open_id_connect_provider(OpenIDConnectProviderArn=found)["ClientIDList"]:
        add = f"aws iam add-client-id-to-open-id-connect-provider --open-id-connect-provider-arn {found}"
        return Diagnosis(what, "missing", f"not for the audience {_AUDIENCE}", f"{add} --client-id {_AUDIENCE}")
    return passed(what, found)


def ways_in(
    scope: DiagnosisScope, repository: str, subjects: list[str], workflows: Sequence[str] = ()
) -> re.Pattern[str]:
    """Match a role's condition as JSON, with GitHub's own numbers if a workflow runs this."""
    owner, _, name = map(re.escape, repository.partition("/"))
    owner_id = scope.environment.get("GITHUB_REPOSITORY_OWNER_ID") or r"\d+"
    repository_id = scope.environment.get("GITHUB_REPOSITORY_ID") or r"\d+"
    forms = [
        form
        for rest in map(re.escape, subjects)
        for form in (rf'"repo:{owner}/{name}:{rest}"', rf'"repo:{owner}@{owner_id}/{name}@(?P=id):{rest}"')
    ]
    at = re.escape(f"@refs/heads/{_branch(scope)}")
    files = [rf'"{owner}/{name}/\.github/workflows/{workflow}\.yml{at}"' for workflow in workflows]
    claims = {
        "aud": f'"{re.escape(_AUDIENCE)}"',
        **({"job_workflow_ref": rf"\[{', '.join(files)}\]"} if files else {}),
        "ref": f'"refs/heads/{re.escape(_branch(scope))}"',
        "repository_id": f'"(?P<id>{repository_id})"',
        "sub": rf"\[{', '.join(forms)}\]",
    }
    pairs = ", ".join(f'"{re.escape(_GITHUB)}:{claim}": {value}' for claim, value in claims.items())
    return re.compile(rf'\{{"StringEquals": \{{{pairs}\}}\}}')


def trust(iam: Any, role: str, ways: re.Pattern[str], fix: str) -> Diagnosis:
    """Require one statement, and each claim by equality: anything else lets others in, or nobody."""
    what = f"role {role}"
    statements = _statements(iam, role)
    if len(statements) != 1:
        return Diagnosis(what, "missing", f"{len(statements)} ways to take it, not one", fix)
    (statement,) = statements
    held = statement.get("Condition", {})
    subjects = [value for one in held.values() for key, value in one.items() if key.endswith(":sub")]
    right = ways.fullmatch(json.dumps(held, sort_keys=True))
    if not right or statement.get("Action") != "sts:AssumeRoleWithWebIdentity":
        found = f"trusts {subjects or 'anybody who signs in'}; not the condition of engine/aws/bootstrap.yaml"
        return Diagnosis(what, "missing", found, fix)
    branch = held["StringEquals"][f"{_GITHUB}:ref"].removeprefix("refs/heads/")
    return passed(what, f"for {' or '.join(subjects[0])}, on {branch} alone")


def _branch(scope: DiagnosisScope) -> str:
    """Return the default branch, if `origin` is known to have another than main."""
    try:
        return run(scope.root, "symbolic-ref", "--short", "refs/remotes/origin/HEAD").partition("/")[2]
    except SluiceError:
        return _MAIN


def service_role(iam: Any, role: str, service: str, fix: str) -> Diagnosis:
    what = f"role {role}"
    trusted = [one.get("Principal", {}).get("Service") for one in _statements(iam, role)]
    if trusted != [service]:
        return Diagnosis(what, "missing", f"trusts {trusted}", fix)
    return passed(what, f"for {service}")


def _reading_pods(scope: DiagnosisScope) -> Iterator[tuple[str, str]]:
    """Yield namespace and ServiceAccount of the pods that read releases, in each environment."""
    for overlay in scope.names.environments:
        yield f"{scope.names.name}-{overlay}", "sluice"
        text = (scope.root / "k8s" / "overlays" / overlay / "kustomization.yaml").read_text(encoding="utf-8")
        if re.search(r"^ *- \S*components/llm-vllm\b", text, re.MULTILINE):
            yield f"{scope.names.name}-{overlay}", "vllm"


def _association(eks: Any, cluster: str, namespace: str, account: str, role: str) -> Diagnosis:
    what = f"pods {namespace}/{account}"
    listed = eks.list_pod_identity_associations(clusterName=cluster, namespace=namespace, serviceAccount=account)
    if found := listed["associations"]:
        return passed(what, found[0]["associationId"])
    arn = f'"$(aws iam get-role --role-name {role} --query Role.Arn --output text)"'
    fix = f"--cluster-name {cluster} --namespace {namespace} --service-account {account} --role-arn {arn}"
    fix = f"aws eks create-pod-identity-association --region {eks.meta.region_name} {fix}"
    return Diagnosis(what, "missing", "no Pod Identity association", fix)


def _pods(iam: Any, scope: DiagnosisScope, role: str, fix: str) -> Diagnosis:
    """Compare the trust policy with the tags that EKS Pod Identity sends for the pods of each environment."""
    found = service_role(iam, role, "pods.eks.amazonaws.com", fix)
    if not found.good:
        return found
    held = _statements(iam, role)[0].get("Condition", {}).get("StringEquals", {})
    values = [held.get(f"aws:RequestTag/{tag}", []) for tag in _TAGS]
    clusters, namespaces, accounts = ([one] if isinstance(one, str) else one for one in values)
    trusted = f"{', '.join(accounts)} in {', '.join(namespaces)} of cluster {', '.join(clusters)}"
    lets_in = all(namespace in namespaces and account in accounts for namespace, account in _reading_pods(scope))
    if lets_in and (scope.environment.get(_CLUSTER) or next(iter(clusters), None)) in clusters:
        return passed(f"role {role}", f"for {trusted}")
    return Diagnosis(f"role {role}", "missing", f"trusts {trusted}", fix)


def _statements(iam: Any, role: str) -> list[dict[str, Any]]:
    found = iam.get_role(RoleName=role)["Role"]["AssumeRolePolicyDocument"]["Statement"]
    return found if isinstance(found, list) else [found]


def _images(ecr: Any, name: str, fix: str) -> Diagnosis:
    (found,) = ecr.describe_repositories(repositoryNames=[name])["repositories"]
    if found.get("imageTagMutability") != "IMMUTABLE":
        return Diagnosis(f"images {name}", "missing", "its tags can be moved", fix)
    return passed(f"images {name}", str(found["repositoryUri"]))


def _bucket(s3: Any, bucket: str, fix: str) -> Diagnosis:
    what = f"bucket {bucket}"
    s3.head_bucket(Bucket=bucket)
    if s3.get_bucket_versioning(Bucket=bucket).get("Status") != "Enabled":
        return Diagnosis(what, "missing", "not versioned", fix)
    closed = s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
    if not all(closed.get(one) for one in _CLOSED):
        return Diagnosis(what, "missing", "not closed to the public", fix)
    return passed(what, "versioned, closed")


def _artefacts(s3: Any, scope: DiagnosisScope, overlay: str, account: str) -> Diagnosis:
    what, path = f"artefacts of {overlay}", scope.root / "k8s" / "overlays" / overlay / "kustomization.yaml"
    found = re.search(r"artefacts=s3://([\w.-]+)", path.read_text(encoding="utf-8"))
    file = path.relative_to(scope.root)
    fix = f"write artefacts=s3://{scope.names.name}-artefacts-{account} into {file}"
    if not found:
        return Diagnosis(what, "missing", f"{file} names no bucket", fix)
    try:
        s3.head_bucket(Bucket=found[1])
    except s3.exceptions.ClientError as error:
        if error.response.get("Error", {}).get("Code", "") not in _ABSENT:
            raise
        return Diagnosis(what, "missing", f"no bucket {found[1]}", fix)
    return passed(what, f"s3://{found[1]}")
