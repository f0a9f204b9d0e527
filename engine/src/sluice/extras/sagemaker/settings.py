"""config/sagemaker.yaml: region, machines, and the cost limit of training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from sluice.core.errors import ValidationErrors
from sluice.core.settings import Settings, load_settings
from sluice.extras.sagemaker.endpoint_settings import EndpointSettings, InstanceType, PlainVariables

FILE = "sagemaker.yaml"
# Below the name of the project, where the role of the jobs may read: engine/aws/bootstrap.yaml.
SecretName = Annotated[str, Field(pattern=r"^[\w-]+/training/[\w/+=.@-]+$", max_length=200)]
# Without these nothing can be asked of an account; the starter leaves them empty.
_NEEDED = ("region", "role", "bucket", "image")


class JobSettings(Settings):
    """The machines of one step. At `max_minutes` SageMaker ends the job; `expected_minutes` is for the estimate.
    `volume_gb`: disk for code, data, models and libraries."""

    instance_type: InstanceType
    instances: int = Field(1, ge=1)
    volume_gb: int = Field(30, ge=10)
    expected_minutes: float = Field(gt=0)
    max_minutes: int = Field(gt=0)

    @model_validator(mode="after")
    def _in_order(self) -> JobSettings:
        if self.expected_minutes > self.max_minutes:
            raise ValueError("expected_minutes is above max_minutes: SageMaker would end the job before it is done")
        return self


class TrainJob(JobSettings):
    """`processes`: of torchrun on each machine; 0: one for each GPU. `spot`: spare machines, which may be taken away
    and come back later; then `max_wait_minutes` bounds waiting and training together."""

    processes: int = Field(0, ge=0)
    spot: bool = True
    max_wait_minutes: int = Field(gt=0)

    @model_validator(mode="after")
    def _waits_long_enough(self) -> TrainJob:
        if self.max_wait_minutes < self.max_minutes:
            raise ValueError("max_wait_minutes is below max_minutes, which it contains")
        return self


class SingleJob(JobSettings):
    """A step that is not distributed."""

    instances: int = Field(1, ge=1, le=1)


class JobsSettings(Settings):
    process: SingleJob
    train: TrainJob
    evaluate: SingleJob


class SageMakerSettings(Settings):
    """`role`: ARN that the jobs run as. `prices`: US dollars an hour of each instance type, on demand.

    `environment`: variables of every job; `secrets`: of AWS Secrets Manager by the variable that a job shall have them
    in; it reads them itself, so that no definition shows them. `subnets` and `security_groups`: where jobs and models
    run. `kms_key`: for disks and results. `tags`: of all that is made, for the bill.
    """

    region: str = Field("", pattern=r"^([a-z]{2}(-[a-z]+)+-\d)?$")
    role: str = Field("", pattern=r"^(arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+)?$")
    bucket: str = Field("", pattern=r"^([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])?$")
    image: str = Field("", pattern=r"^([\w.-]+\.[\w./-]+[@:][\w.:-]+)?$")
    serving_image: str = Field("", pattern=r"^([\w.-]+\.[\w./-]+[@:][\w.:-]+)?$")
    prefix: str = Field("training", pattern=r"^[\w-]+(/[\w-]+)*$")
    pipeline: str = Field(pattern=r"^[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}$")
    model_package_group: str = Field(pattern=r"^[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}$")
    budget_usd: float = Field(gt=0)
    poll_seconds: float = Field(15, gt=0)
    prices: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    environment: PlainVariables = Field(default_factory=dict)
    secrets: dict[Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")], SecretName] = Field(default_factory=dict)
    subnets: tuple[Annotated[str, Field(pattern=r"^subnet-[0-9a-f]+$")], ...] = Field((), max_length=16)
    security_groups: tuple[Annotated[str, Field(pattern=r"^sg-[0-9a-f]+$")], ...] = Field((), max_length=5)
    kms_key: str = Field("", pattern=r"^(arn:aws[a-z-]*:kms:[a-z0-9-]+:\d{12}:key/[A-Za-z0-9-]+)?$")
    tags: dict[str, str] = Field(default_factory=dict, max_length=50)
    jobs: JobsSettings
    endpoint: EndpointSettings | None = None

    @model_validator(mode="after")
    def _network(self) -> SageMakerSettings:
        if bool(self.subnets) != bool(self.security_groups):
            raise ValueError("subnets and security_groups go together")
        return self

    @property
    def vpc(self) -> dict[str, list[str]]:
        """VpcConfig of AWS's requests; empty where jobs run in AWS's network."""
        if not self.subnets:
            return {}
        return {"SecurityGroupIds": list(self.security_groups), "Subnets": list(self.subnets)}

    @property
    def aws_tags(self) -> list[dict[str, str]]:
        return [{"Key": key, "Value": value} for key, value in self.tags.items()]

    @property
    def variables(self) -> dict[str, str]:
        """Of every job; what it reads of Secrets Manager is named, not held."""
        named = {"SLUICE_SECRETS": json.dumps(self.secrets, sort_keys=True)} if self.secrets else {}
        return {**self.environment, "AWS_DEFAULT_REGION": self.region, **named}

    @property
    def is_set_up(self) -> bool:
        return not self.missing()

    def missing(self) -> list[str]:
        """What is still to be filled in before a pipeline can be started."""
        empty = [name for name in _NEEDED if not getattr(self, name)]
        used = dict.fromkeys(job.instance_type for job in (self.jobs.process, self.jobs.train, self.jobs.evaluate))
        return [*empty, *(f"prices.{one}" for one in used if one not in self.prices)]

    def uri(self, *parts: str) -> str:
        """An S3 address of this project in the bucket."""
        return "/".join(("s3:/", self.bucket, self.prefix, *parts))


def read(config: Path) -> SageMakerSettings | None:
    """The settings in a folder of configuration, None where a fork has dropped the file."""
    path = config / FILE
    return load_settings(path, SageMakerSettings) if path.is_file() else None


def require(config: Path) -> SageMakerSettings:
    """The settings, filled in. SluiceError lists all that is missing."""
    settings = load_settings(config / FILE, SageMakerSettings)
    if missing := settings.missing():
        raise ValidationErrors(
            f"{config / FILE}: SageMaker is not set up",
            [f"{name}: is empty" if "." not in name else f"{name}: no price for what jobs use" for name in missing],
            remedy="engine/docs/reference/sagemaker.md says what goes there; `sluice doctor aws` looks at the account",
        )
    return settings
