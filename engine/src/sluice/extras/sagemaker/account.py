"""AWS clients of a run: SageMaker, CloudWatch Logs and S3."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sluice.extras.sagemaker.aws_clients import client
from sluice.extras.sagemaker.settings import SageMakerSettings


@dataclass(frozen=True)
class AwsAccount:
    """Clients of SageMaker, of its logs, and of S3."""

    settings: SageMakerSettings
    sagemaker: Any
    logs: Any
    s3: Any

    @classmethod
    def open(cls, settings: SageMakerSettings) -> AwsAccount:
        asked = (client(service, settings.region) for service in ("sagemaker", "logs", "s3"))
        return cls(settings, *asked)
