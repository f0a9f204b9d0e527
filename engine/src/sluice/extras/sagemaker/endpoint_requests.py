"""What SageMaker is asked for an endpoint, by config/sagemaker.yaml, and Application Auto Scaling for its sizes.

Each thing is named after a digest of what it is. So a change of machine, size or variables is another configuration,
which is deployed as another package is. Sizes follow the requests under way for each machine or copy, down to none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sluice.core.digests import digest_of
from sluice.extras.sagemaker.aws_clients import EndpointAccount, asking, look_up
from sluice.extras.sagemaker.settings import EndpointComponents, EndpointScaling, EndpointSettings, SageMakerSettings

VARIANT = "live"
_DIGITS = 8


@dataclass(frozen=True)
class EndpointRequests:
    """`model`: None where components hold the models. `config`: of CreateEndpointConfig."""

    model: dict[str, Any] | None
    config: dict[str, Any]

    @property
    def name(self) -> str:
        return str(self.config["EndpointConfigName"])


def requests_for(settings: SageMakerSettings, endpoint: EndpointSettings, package: dict[str, Any]) -> EndpointRequests:
    """Model and configuration for a package, or of machines for components."""
    variant: dict[str, Any] = {
        "VariantName": VARIANT,
        "InstanceType": endpoint.instance_type,
        "InitialInstanceCount": endpoint.instances,
        "ContainerStartupHealthCheckTimeoutInSeconds": endpoint.startup_seconds,
        "ModelDataDownloadTimeoutInSeconds": endpoint.startup_seconds,
        "RoutingConfig": {"RoutingStrategy": "LEAST_OUTSTANDING_REQUESTS"},
    }
    if endpoint.volume_gb:
        variant["VolumeSizeInGB"] = endpoint.volume_gb
    if endpoint.ami:
        variant["InferenceAmiVersion"] = endpoint.ami
    config: dict[str, Any] = {"ProductionVariants": [variant]}
    if endpoint.capture_percent:
        config["DataCaptureConfig"] = {
            "EnableCapture": True,
            "InitialSamplingPercentage": endpoint.capture_percent,
            "DestinationS3Uri": settings.uri("captured", endpoint.name),
            "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
        }
    if settings.kms_key:
        config["KmsKeyId"] = settings.kms_key
    if settings.aws_tags:
        config["Tags"] = settings.aws_tags
    if endpoint.components:
        scaling = endpoint.scaling
        least, most = (scaling.least, scaling.most) if scaling else (endpoint.instances, endpoint.instances)
        variant["ManagedInstanceScaling"] = {
            "Status": "ENABLED",
            "MinInstanceCount": least,
            "MaxInstanceCount": most,
        }
        variant["InitialInstanceCount"] = max(1, least)
        config["ExecutionRoleArn"] = settings.role
        if settings.vpc:
            config["VpcConfig"] = settings.vpc
        return EndpointRequests(None, config | {"EndpointConfigName": f"{endpoint.name}-{_digest(config)}"})
    (registered,) = package["InferenceSpecification"]["Containers"]
    container: dict[str, Any] = {"ModelPackageName": package["ModelPackageArn"]}
    if registered["Image"] != settings.serving_image:  # it was registered before that was named, or was another one
        container = {"Image": settings.serving_image, "ModelDataUrl": registered["ModelDataUrl"]}
    container["Environment"] = dict(endpoint.environment)
    model: dict[str, Any] = {"PrimaryContainer": container, "ExecutionRoleArn": settings.role}
    if settings.vpc:
        model["VpcConfig"] = settings.vpc
    if settings.aws_tags:
        model["Tags"] = settings.aws_tags
    name = f"{endpoint.name}-{package['ModelPackageVersion']}-{_digest([config, model])}"
    variant["ModelName"] = name
    return EndpointRequests(model | {"ModelName": name}, config | {"EndpointConfigName": name})


def deployment_config(endpoint: EndpointSettings) -> dict[str, Any]:
    """How the traffic moves to another configuration, and what takes it back."""
    return {
        "BlueGreenUpdatePolicy": {
            "TrafficRoutingConfiguration": {
                "Type": "CANARY",
                "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": endpoint.canary_percent},
                "WaitIntervalInSeconds": endpoint.wait_seconds,
            },
            "TerminationWaitInSeconds": endpoint.wait_seconds,
        },
        "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": name} for name in endpoint.alarms]},
    }


def base_component(
    settings: SageMakerSettings, endpoint: EndpointSettings, components: EndpointComponents
) -> dict[str, Any]:
    """CreateInferenceComponent of the model that adapters are loaded beside."""
    specification: dict[str, Any] = {
        "Container": {"Image": settings.serving_image, "Environment": dict(components.environment)},
        "StartupParameters": {
            "ModelDataDownloadTimeoutInSeconds": endpoint.startup_seconds,
            "ContainerStartupHealthCheckTimeoutInSeconds": endpoint.startup_seconds,
        },
        "ComputeResourceRequirements": {
            "NumberOfAcceleratorDevicesRequired": components.accelerators,
            "MinMemoryRequiredInMb": components.memory_mb,
        },
    }
    copies = max(1, endpoint.scaling.least if endpoint.scaling else endpoint.instances)
    return {
        "InferenceComponentName": f"{endpoint.name}-base-{_digest(specification)}",
        "EndpointName": endpoint.name,
        "VariantName": VARIANT,
        "Specification": specification,
        "RuntimeConfig": {"CopyCount": copies},
    }


def adapter_component(endpoint: EndpointSettings, version: int, base: str, artifact: str) -> dict[str, Any]:
    """CreateInferenceComponent of an adapter: it runs in the copies of its base."""
    return {
        "InferenceComponentName": f"{endpoint.name}-{version}-{_digest([base, artifact])}",
        "EndpointName": endpoint.name,
        "Specification": {"BaseInferenceComponentName": base, "Container": {"ArtifactUrl": artifact}},
    }


def _digest(content: Any) -> str:
    return digest_of(content)[:_DIGITS]


def scale_variant(account: EndpointAccount, scaling: EndpointScaling | None) -> None:
    """The machines of an endpoint without components. What is registered already gets these bounds; without any it
    keeps its number, and no policy of ours."""
    target = {
        "ServiceNamespace": "sagemaker",
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
        "ServiceNamespace": "sagemaker",
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
