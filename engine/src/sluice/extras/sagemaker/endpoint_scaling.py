"""Sizes of an endpoint by Application Auto Scaling: requests under way for each machine or copy, down to none."""

from __future__ import annotations

from typing import Any

from sluice.extras.sagemaker.aws_clients import asking, look_up
from sluice.extras.sagemaker.endpoint_account import EndpointAccount
from sluice.extras.sagemaker.endpoint_requests import VARIANT
from sluice.extras.sagemaker.endpoint_settings import EndpointScaling

_SERVICE = "sagemaker"


def scale_variant(account: EndpointAccount, scaling: EndpointScaling | None) -> None:
    """The machines of an endpoint without components. What is registered already gets these bounds; without any it
    keeps its number, and no policy of ours."""
    target = {
        "ServiceNamespace": _SERVICE,
        "ResourceId": f"endpoint/{account.endpoint.name}/variant/{VARIANT}",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    }
    if scaling is None:
        _leave_alone(account, target, f"{account.endpoint.name}-requests")
        return
    metric = "SageMakerVariantConcurrentRequestsPerModelHighResolution"
    _follow_requests(account, scaling, target, metric, account.endpoint.name)


def scale_component(account: EndpointAccount, scaling: EndpointScaling | None, base: str) -> None:
    """The copies of a base, as `scale_variant`; its machines follow by themselves. With none left nothing measures
    requests that are under way, so the first that finds no copy starts one."""
    target = {
        "ServiceNamespace": _SERVICE,
        "ResourceId": f"inference-component/{base}",
        "ScalableDimension": "sagemaker:inference-component:DesiredCopyCount",
    }
    if scaling is None:
        _leave_alone(account, target, f"{base}-requests", f"{base}-wake-up")
        return
    metric = "SageMakerInferenceComponentConcurrentRequestsPerCopyHighResolution"
    _follow_requests(account, scaling, target, metric, base)
    if scaling.least:
        return
    with asking(f"scaling of {base}"):
        policy = account.scaling.put_scaling_policy(
            **target,
            PolicyName=f"{base}-wake-up",
            PolicyType="StepScaling",
            StepScalingPolicyConfiguration={
                "AdjustmentType": "ChangeInCapacity",
                "MetricAggregationType": "Maximum",
                "Cooldown": 60,
                "StepAdjustments": [{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 1}],
            },
        )
        account.cloudwatch.put_metric_alarm(
            AlarmName=f"{base}-wake-up",
            AlarmDescription="A request found no copy of the model",
            AlarmActions=[policy["PolicyARN"]],
            Namespace="AWS/SageMaker",
            MetricName="NoCapacityInvocationFailures",
            Dimensions=[{"Name": "InferenceComponentName", "Value": base}],
            Statistic="Maximum",
            Period=30,
            EvaluationPeriods=1,
            Threshold=1,
            ComparisonOperator="GreaterThanOrEqualToThreshold",
            TreatMissingData="missing",
        )


def _leave_alone(account: EndpointAccount, target: dict[str, Any], *policies: str) -> None:
    """Takes these policies away where they are; those that somebody else has made stay."""
    for name in policies:
        with asking(f"scaling of {name}"):
            look_up(account.scaling.delete_scaling_policy, **target, PolicyName=name)


def _follow_requests(
    account: EndpointAccount, scaling: EndpointScaling, target: dict[str, Any], metric: str, name: str
) -> None:
    with asking(f"scaling of {name}"):
        account.scaling.register_scalable_target(**target, MinCapacity=scaling.least, MaxCapacity=scaling.most)
        account.scaling.put_scaling_policy(
            **target,
            PolicyName=f"{name}-requests",
            PolicyType="TargetTrackingScaling",
            TargetTrackingScalingPolicyConfiguration={
                "TargetValue": scaling.requests,
                "PredefinedMetricSpecification": {"PredefinedMetricType": metric},
                "ScaleOutCooldown": 60,
                "ScaleInCooldown": scaling.idle_seconds,
            },
        )
