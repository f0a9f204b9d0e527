"""What SageMaker is asked for an endpoint, by config/sagemaker.yaml: each thing is named after a digest of what it is.

So a change of machine, size or variables is another configuration, which is deployed as another package is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sluice.core.digests import digest_of
from sluice.extras.sagemaker.endpoint_settings import EndpointComponents, EndpointSettings
from sluice.extras.sagemaker.settings import SageMakerSettings

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
