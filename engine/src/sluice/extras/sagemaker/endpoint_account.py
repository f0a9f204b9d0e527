"""AWS clients of `sluice endpoint deploy`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sluice.core.errors import SluiceError
from sluice.extras.sagemaker.aws_clients import asking, client, look_up
from sluice.extras.sagemaker.endpoint_settings import EndpointSettings
from sluice.extras.sagemaker.settings import SageMakerSettings

Say = Callable[[str], None]


@dataclass(frozen=True)
class EndpointAccount:
    """Clients of SageMaker, of alarms, of scaling and of the bucket."""

    settings: SageMakerSettings
    endpoint: EndpointSettings
    sagemaker: Any
    cloudwatch: Any
    scaling: Any
    s3: Any

    @classmethod
    def open(cls, settings: SageMakerSettings) -> EndpointAccount:
        """SluiceError where no endpoint is set, or none that can be made."""
        if settings.endpoint is None:
            raise SluiceError(
                "config/sagemaker.yaml: endpoint: is not set",
                remedy="engine/docs/reference/sagemaker.md has an example",
            )
        if not settings.serving_image:
            raise SluiceError(
                "config/sagemaker.yaml: serving_image is empty, and an endpoint serves in it",
                remedy="name AWS's image for vLLM or LMI: engine/docs/reference/sagemaker.md",
            )
        services = ("sagemaker", "cloudwatch", "application-autoscaling", "s3")
        return cls(settings, settings.endpoint, *(client(service, settings.region) for service in services))

    def describe(self) -> dict[str, Any] | None:
        """The endpoint as it is; None where there is none."""
        with asking(self.endpoint.name):
            found: dict[str, Any] | None = look_up(self.sagemaker.describe_endpoint, EndpointName=self.endpoint.name)
            return found
