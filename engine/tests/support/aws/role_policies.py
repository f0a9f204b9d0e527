"""What engine/aws/bootstrap.yaml lets a role do, who may take it, and what AWS asks of a request.

Actions have the names of calls, by AWS's service authorization reference, but for those of S3 in `_S3`; what AWS looks
at beside a call is added to it. A statement allows what its action and its resource match, * for any characters (IAM
user guide, "IAM JSON policy elements: Resource"); of conditions those are known here that the template has for calls
that are collected.

`lets_in` is the same guide's "Condition operators" and "Conditions with multiple context keys or values" (Version
2012-10-17): operators and keys are all to be met, one value of a key is enough, a key that the request lacks is not
met, names of keys have no case. StringEquals compares with case; StringLike the same, with * and ?. STS gives the
claims in `_CLAIMS` of GitHub as keys since January 2026. Another claim is as if it were not there.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from support.aws.service_model import REQUESTS

ACCOUNT, REGION, NAME = "123456789012", "eu-west-1", "sluice"
OTHER_ACCOUNT = "210987654321"
_S3 = {"ListObjectsV2": "ListBucket", "HeadBucket": "ListBucket", "HeadObject": "GetObject"}
_VALUES = {
    "AWS::Partition": "aws",
    "AWS::Region": REGION,
    "AWS::AccountId": ACCOUNT,
    "Name": NAME,
    "Staging": "staging",
    "Production": "production",
    "Cluster": NAME,
    "AwsImages": "763104351884",
    "BuildAccount": ACCOUNT,
    "DeployAccount": OTHER_ACCOUNT,
    "SageMakerRole.Arn": f"arn:aws:iam::{ACCOUNT}:role/{NAME}-sagemaker",
    "Images.Arn": f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/{NAME}",
    "Data.Arn": f"arn:aws:s3:::{NAME}-data-{ACCOUNT}",
    "Artefacts.Arn": f"arn:aws:s3:::{NAME}-artefacts-{ACCOUNT}",
    "Tracking.Arn": f"arn:aws:s3:::{NAME}-mlflow-{ACCOUNT}",
}
# By the dimension that is scaled: who registers it must be able to look at it and to change it (AWS's guides, "Auto
# scaling prerequisites" of SageMaker and "Permissions required for the target service" of Application Auto Scaling).
_SCALES = {
    "sagemaker:variant:DesiredInstanceCount": (
        "DescribeEndpoint",
        "DescribeEndpointConfig",
        "UpdateEndpointWeightsAndCapacities",
    ),
    "sagemaker:inference-component:DesiredCopyCount": (
        "DescribeInferenceComponent",
        "UpdateInferenceComponentRuntimeConfig",
    ),
}
# What nothing here asks for, and why it is there.
BESIDE = {
    "sagemaker:AddTags": "whatever is made with tags; AWS names it beside each Create",
    "sagemaker:DescribePipeline": "the SDK, which makes the pipeline in a process of its own",
    "sagemaker:UpdatePipeline": "the SDK",
    "sagemaker:StopPipelineExecution": "at the budget",
    "s3:DeleteObject": "`sluice release prune`, which asks by obstore",
    "iam:CreateServiceLinkedRole": "the first size that is scaled in an account makes AWS's own role for it",
    **dict.fromkeys(
        (
            "ecr:GetAuthorizationToken",
            "ecr:BatchCheckLayerAvailability",
            "ecr:BatchGetImage",
            "ecr:CompleteLayerUpload",
            "ecr:DescribeImages",
            "ecr:DescribeRepositories",
            "ecr:GetDownloadUrlForLayer",
            "ecr:InitiateLayerUpload",
            "ecr:PutImage",
            "ecr:UploadLayerPart",
        ),
        "pushing an image, which is the registry's protocol and no call of boto3 (ECR's guide, \"Pushing an image\")",
    ),
}
# Of the account of a test, not of a role.
_OF_TESTS = {"ListPipelines", "CreateBucket", "CreateModelPackage", "CreateModelPackageGroup", "ListModelPackageGroups"}
# Of SageMaker's calls: the kind of resource that a parameter names, those that name one for themselves first.
_NAMED = {
    "InferenceComponentName": "inference-component",
    "PipelineName": "pipeline",
    "TrainingJobName": "training-job",
    "ProcessingJobName": "processing-job",
    "ModelPackageGroupName": "model-package-group",
    "EndpointName": "endpoint",
    "EndpointConfigName": "endpoint-config",
    "ModelName": "model",
}


def statements(template: dict[str, Any], *names: str) -> list[dict[str, Any]]:
    """Return the statements of roles and managed policies, with references resolved."""
    held = [template["Resources"][name]["Properties"] for name in names]
    documents = [one["PolicyDocument"] for properties in held for one in properties.get("Policies", [properties])]
    return [resolved(one) for document in documents for one in document["Statement"]]


def resolved(value: Any) -> Any:
    if isinstance(value, list):
        return [resolved(one) for one in value]
    if isinstance(value, dict) and len(value) == 1 and next(iter(value)) in ("Sub", "GetAtt", "Ref"):
        ((kind, held),) = value.items()
        return re.sub(r"\$\{([^}]+)\}", lambda found: _VALUES[found[1]], held) if kind == "Sub" else _VALUES[held]
    return {key: resolved(held) for key, held in value.items()} if isinstance(value, dict) else value


def needs(service: str, call: str, params: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Yield each (action, resource, keys of conditions) that a request needs."""
    arn = f"arn:aws:{service}:{REGION}:{ACCOUNT}"
    keys: dict[str, str] = {}
    if service == "s3":
        place = f"arn:aws:s3:::{params['Bucket']}" + (f"/{params['Key']}" if "Key" in params else "")
        yield f"s3:{_S3.get(call, call)}", place, keys
    elif service == "logs":
        yield f"logs:{call}", f"{arn}:log-group:{params['logGroupName']}:log-stream:x", keys
    elif service == "cloudwatch":
        yield f"cloudwatch:{call}", f"{arn}:alarm:{params['AlarmName']}" if "AlarmName" in params else "*", keys
    elif service == "application-autoscaling":
        keys = {"application-autoscaling:service-namespace": params["ServiceNamespace"]}
        yield f"application-autoscaling:{call}", f"{arn}:scalable-target/{params['ResourceId']}", keys
        yield from _scaled(params)
    else:
        if "ModelApprovalStatus" in params and call == "UpdateModelPackage":
            keys = {"sagemaker:ModelApprovalStatus": params["ModelApprovalStatus"]}
        yield f"sagemaker:{call}", _resource(arn, call, params), keys
        for role in (params.get("ExecutionRoleArn"), params.get("RoleArn")):
            if role:
                yield "iam:PassRole", role, {"iam:PassedToService": "sagemaker.amazonaws.com"}
        if package := params.get("PrimaryContainer", {}).get("ModelPackageName"):
            yield "sagemaker:AccessModelPackage", package, {}


def _scaled(params: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Yield what scaling needs at the endpoint or component, and at the alarms of target tracking."""
    kind, name = params["ResourceId"].split("/")[:2]
    for action in _SCALES[params["ScalableDimension"]]:
        resource = f"{kind}-config/{name}-1" if action == "DescribeEndpointConfig" else f"{kind}/{name}"
        yield f"sagemaker:{action}", f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:{resource}", {}
    if params.get("PolicyType") == "TargetTrackingScaling":
        alarm = f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:TargetTracking-{params['ResourceId']}-AlarmHigh-1"
        yield "cloudwatch:PutMetricAlarm", alarm, {}


def _resource(arn: str, call: str, params: dict[str, Any]) -> str:
    found = [value for value in params.values() if isinstance(value, str) and value.startswith("arn:aws:sagemaker:")]
    if found:
        return str(found[0])
    if call == "ListInferenceComponents":
        return "*"
    return next(f"{arn}:{kind}/{params[name]}" for name, kind in _NAMED.items() if name in params)


def allows(held: list[dict[str, Any]], action: str, resource: str, keys: dict[str, str]) -> bool:
    return any(
        any(fnmatchcase(action, one) for one in _list(statement["Action"]))
        and any(fnmatchcase(resource, one) for one in _list(statement["Resource"]))
        and all(
            keys.get(key, value if operator.endswith("IfExists") else None) == value
            for operator, pairs in statement.get("Condition", {}).items()
            for key, value in pairs.items()
        )
        for statement in held
    )


def _list(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]


def asked() -> list[tuple[str, str, dict[str, str]]]:
    """Return the needs of the requests since the last `REQUESTS.clear()`."""
    return [need for service, call, given in REQUESTS if call not in _OF_TESTS for need in needs(service, call, given)]


def require(template: dict[str, Any], role: str, wanted: list[tuple[str, str, dict[str, str]]], *managed: str) -> None:
    """Assert that the role or its managed policies allow each request, and that it has no other right."""
    held = statements(template, role)
    assert wanted
    assert [one for one in wanted if not allows([*held, *statements(template, *managed)], *one)] == []
    given = {action for one in held for action in _list(one["Action"])}
    assert sorted(given - {action for action, _, _ in wanted} - set(BESIDE)) == []


ISSUER = "token.actions.githubusercontent.com"
_CLAIMS = """aud sub actor actor_id enterprise_id environment job_workflow_ref ref repository repository_id workflow"""


# EKS's guide, "List of session tags added by EKS Pod Identity".
_TAGS = ("eks-cluster-name", "kubernetes-namespace", "kubernetes-service-account")


def lets_in(statement: Mapping[str, Any], claims: Mapping[str, str], pod: Sequence[str] = ()) -> bool:
    """`claims`: of a token of GitHub. `pod`: its cluster, namespace and ServiceAccount."""
    assert statement["Effect"] == "Allow"
    keys = {f"{ISSUER}:{name}": value for name, value in claims.items() if name in _CLAIMS.split()}
    if pod:
        keys |= {f"aws:requesttag/{tag}": value for tag, value in zip(_TAGS, pod, strict=True)}
        keys["aws:sourceaccount"] = ACCOUNT
    return all(
        _is_met(operator, wanted, keys.get(key.lower()))
        for operator, pairs in statement.get("Condition", {}).items()
        for key, wanted in pairs.items()
    )


def _is_met(operator: str, wanted: str | list[str], held: str | None) -> bool:
    values = [wanted] if isinstance(wanted, str) else wanted
    if operator == "StringEquals":
        return held in values
    assert operator == "StringLike", f"{operator} is not known here"
    return held is not None and any(re.fullmatch(_pattern(value), held, re.S) for value in values)


def _pattern(value: str) -> str:
    return re.escape(value).replace(r"\*", ".*").replace(r"\?", ".")
