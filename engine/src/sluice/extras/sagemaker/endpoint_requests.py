"""Requests of an endpoint to SageMaker and Application Auto Scaling, by config/sagemaker.yaml.

Models, configurations and components are named after a digest of what they are. So a changed machine, size or variable
is another configuration, which is deployed as another package is.
"""

from __future__ import annotations

from typing import Any

from sluice.core.digests import digest_of
from sluice.extras.sagemaker.aws_clients import EndpointAccount, asking, look_up
from sluice.extras.sagemaker.settings import EndpointComponents, EndpointSettings, SageMakerSettings

VARIANT = "live"
_DIGITS = 8


def endpoint_requests(
    settings: SageMakerSettings, endpoint: EndpointSettings, package: dict[str, Any]
) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """Return CreateModel, or None where components hold the models, and CreateEndpointConfig."""
    variant: dict[str, Any] = {
        "VariantName": VARIANT,
        "InstanceType": endpoint.instance_type,
        "InitialInstanceCount": endpoint.instances,
        "ContainerStartupHealthCheckTimeoutInSeconds": endpoint.startup_seconds,
        "ModelDataDownloadTimeoutInSeconds": endpoint.startup_seconds,
        "RoutingConfig": {"RoutingStrategy": "LEAST_OUTSTANDING_REQUESTS"},
        **_filled(VolumeSizeInGB=endpoint.volume_gb, InferenceAmiVersion=endpoint.ami),
    }
    config: dict[str, Any] = {
        "ProductionVariants": [variant],
        **_filled(KmsKeyId=settings.kms_key, Tags=settings.aws_tags),
    }
    if endpoint.capture_percent:
        config["DataCaptureConfig"] = {
            "EnableCapture": True,
            "InitialSamplingPercentage": endpoint.capture_percent,
            "DestinationS3Uri": settings.uri("captured", endpoint.name),
            "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
        }
    runs = {"ExecutionRoleArn": settings.role, **_filled(VpcConfig=settings.vpc)}
    if endpoint.components:
        least, most = _bounds(endpoint)
        variant["InitialInstanceCount"] = max(1, least)
        variant["ManagedInstanceScaling"] = {"Status": "ENABLED", "MinInstanceCount": least, "MaxInstanceCount": most}
        config |= runs
        return None, config | {"EndpointConfigName": f"{endpoint.name}-{_digest(config)}"}
    (registered,) = package["InferenceSpecification"]["Containers"]
    container: dict[str, Any] = {"ModelPackageName": package["ModelPackageArn"]}
    if registered["Image"] != settings.serving_image:  # it was registered before that was named, or was another one
        container = {"Image": settings.serving_image, "ModelDataUrl": registered["ModelDataUrl"]}
    container["Environment"] = dict(endpoint.environment)
    model = {"PrimaryContainer": container, **runs, **_filled(Tags=settings.aws_tags)}
    name = f"{endpoint.name}-{package['ModelPackageVersion']}-{_digest([config, model])}"
    variant["ModelName"] = name
    return model | {"ModelName": name}, config | {"EndpointConfigName": name}


def _filled(**members: Any) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value}


def _bounds(endpoint: EndpointSettings) -> tuple[int, int]:
    scaling = endpoint.scaling
    return (scaling.least, scaling.most) if scaling else (endpoint.instances, endpoint.instances)


def _digest(content: Any) -> str:
    return digest_of(content)[:_DIGITS]


def update_options(endpoint: EndpointSettings) -> dict[str, Any]:
    """Return how UpdateEndpoint moves the traffic. Where components hold the models only machines change."""
    if endpoint.components:
        return {}
    canary = {
        "Type": "CANARY",
        "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": endpoint.canary_percent},
        "WaitIntervalInSeconds": endpoint.wait_seconds,
    }
    options: dict[str, Any] = {
        "DeploymentConfig": {
            "BlueGreenUpdatePolicy": {
                "TrafficRoutingConfiguration": canary,
                "TerminationWaitInSeconds": endpoint.wait_seconds,
            },
            "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": name} for name in endpoint.alarms]},
        }
    }
    if endpoint.scaling:  # or SageMaker would go back to the number of machines that it began with
        options["RetainAllVariantProperties"] = True
    return options


def base_component(
    settings: SageMakerSettings, endpoint: EndpointSettings, components: EndpointComponents
) -> dict[str, Any]:
    """Return CreateInferenceComponent of the model that adapters are loaded beside."""
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
    return {
        "InferenceComponentName": f"{endpoint.name}-base-{_digest(specification)}",
        "EndpointName": endpoint.name,
        "VariantName": VARIANT,
        "Specification": specification,
        "RuntimeConfig": {"CopyCount": max(1, _bounds(endpoint)[0])},
    }


def adapter_component(endpoint: EndpointSettings, version: int, base: str, artifact: str) -> dict[str, Any]:
    """Return CreateInferenceComponent of an adapter, which runs in the copies of its base."""
    return {
        "InferenceComponentName": f"{endpoint.name}-{version}-{_digest([base, artifact])}",
        "EndpointName": endpoint.name,
        "Specification": {"BaseInferenceComponentName": base, "Container": {"ArtifactUrl": artifact}},
    }


def scale(account: EndpointAccount, base: str = "") -> None:
    """Let the copies of a base, or the machines if there is none, follow the requests that are under way.

    Without `scaling` the policies made here are deleted; those of somebody else stay.
    """
    name, scaling = base or account.endpoint.name, account.endpoint.scaling
    resource, dimension = f"endpoint/{name}/variant/{VARIANT}", "variant:DesiredInstanceCount"
    metric = "SageMakerVariantConcurrentRequestsPerModelHighResolution"
    if base:
        resource, dimension = f"inference-component/{base}", "inference-component:DesiredCopyCount"
        metric = "SageMakerInferenceComponentConcurrentRequestsPerCopyHighResolution"
    target = {"ServiceNamespace": "sagemaker", "ResourceId": resource, "ScalableDimension": f"sagemaker:{dimension}"}
    with asking(f"scaling of {name}"):
        if scaling is None:
            for policy in ("requests", "wake-up") if base else ("requests",):
                look_up(account.scaling.delete_scaling_policy, **target, PolicyName=f"{name}-{policy}")
            return
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
        if scaling.least == 0:  # with no copy left nothing measures requests, so the first one starts a copy
            _wake_up(account, target, name)


def _wake_up(account: EndpointAccount, target: dict[str, str], base: str) -> None:
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
