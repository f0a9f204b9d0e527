"""What of an account of AWS is asked: SageMaker, its logs, and the bucket."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sluice.extras.sagemaker.aws import client
from sluice.extras.sagemaker.settings import SageMakerSettings


@dataclass(frozen=True)
class Account:
    """Clients of SageMaker, of its logs, and of S3."""

    settings: SageMakerSettings
    sagemaker: Any
    logs: Any
    s3: Any

    @classmethod
    def open(cls, settings: SageMakerSettings) -> Account:
        asked = (client(service, settings.region) for service in ("sagemaker", "logs", "s3"))
        return cls(settings, *asked)
