"""config/sagemaker.yaml: region, machines, the cost limit of training, and the endpoint."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, model_validator

from sluice.core.errors import ValidationErrors
from sluice.core.settings import Settings, load_settings

FILE = "sagemaker.yaml"
# Below the name of the project, where the role of the jobs may read: engine/aws/bootstrap.yaml.
SecretName = Annotated[str, Field(pattern=r"^[\w-]+/training/[\w/+=.@-]+$", max_length=200)]
# The starter leaves these empty.
_NEEDED = ("region", "role", "bucket", "image")
InstanceType = Annotated[str, Field(pattern=r"^ml\.[a-z0-9-]+\.[a-z0-9]+$")]
# Variables of AWS's image for vLLM; LMI takes adapters by itself.
_TAKES_ADAPTERS = ("SM_VLLM_ENABLE_LORA", "VLLM_ALLOW_RUNTIME_LORA_UPDATING")
# By ModelBuilder of sagemaker-serve 1.27.0: the machine image with the driver of CUDA 13, and the machines it is for.
_CUDA_13 = re.compile(r"[-:]cu13\d")
CUDA_13_AMI = "al2023-ami-sagemaker-inference-gpu-4-1"
CUDA_13_MACHINES = ("g4dn", "g5", "g6", "g6e", "p4d", "p4de", "p5", "p5e", "p5en")
# Families with disks of their own, which SageMaker encrypts by a key of its own: it refuses a request with another.
_OWN_DISKS = re.compile(r"g4dn|g5|g6e?|gr6|g7e?|p3dn|p4de?|p5(e|en)?|p6-\w+|trn\d\w*|[cmrx]\d\w*d\w*|i\d\w*|d\d\w*")
_WEIGHTS = "/opt/ml/model"  # where SageMaker puts the files of `base`
_SECRET = re.compile(r"TOKEN|SECRET|PASSW|CREDENTIAL|(API|ACCESS|PRIVATE)_?KEY")


def _plain(variables: dict[str, str]) -> dict[str, str]:
    """Refuse secrets: everybody who may describe a definition, model or component sees its variables."""
    for name, value in variables.items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or len(name) > 512 or len(value) > 512:
            raise ValueError(f"{name}: not a variable that AWS takes, of at most 512 characters")
        if _SECRET.search(name.upper()):
            raise ValueError(f"{name}: looks like a secret, and everybody who may describe a job would read it")
    return variables


PlainVariables = Annotated[dict[str, str], AfterValidator(_plain)]


class EndpointScaling(Settings):
    """The number of machines, or of copies of a base, by the `requests` that each of them answers at a time."""

    least: int = Field(ge=0)
    most: int = Field(ge=1)
    requests: float = Field(gt=0)
    idle_seconds: int = Field(600, ge=60, le=3600, description="quiet so long, one goes away")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.least > self.most:
            raise ValueError("least is above most")
        return self


class EndpointComponents(Settings):
    """Inference components: a base model in `serving_image`, and each approved package as an adapter of it.

    `base`: folder of the bucket with its weights, if the hub wants a token. `environment`: of the base's container,
    which names the model and that it takes adapters; `accelerators`, `memory_mb`: of a machine, for each copy;
    `keep`: adapters that stay, so that a release can be gone back to.
    """

    base: str = Field("", pattern=r"^(s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/(\S+/)?)?$", max_length=1024)
    environment: PlainVariables = Field(min_length=1)
    accelerators: int = Field(1, ge=1)
    memory_mb: int = Field(ge=128)
    keep: int = Field(3, ge=1)

    @model_validator(mode="after")
    def _takes_adapters(self) -> Self:
        is_vllm = any(name.startswith("SM_VLLM_") for name in self.environment)
        missing = [name for name in _TAKES_ADAPTERS if self.environment.get(name, "").lower() != "true"]
        if is_vllm and missing:
            raise ValueError(f'environment: without {" and ".join(missing)}: "true" vLLM takes no adapter')
        if is_vllm and bool(self.base) != (self.environment.get("SM_VLLM_MODEL") == _WEIGHTS):
            raise ValueError(f"base and `SM_VLLM_MODEL: {_WEIGHTS}` of environment go together")
        return self


class EndpointSettings(Settings):
    """`alarms`: names of CloudWatch alarms that turn a deployment back. `environment`: of the container of a package,
    where there are no `components`. `startup_seconds`: for the download of a model and for its start, each."""

    name: str = Field(pattern=r"^[a-zA-Z0-9](-*[a-zA-Z0-9]){0,39}$")
    instance_type: InstanceType
    instances: int = Field(2, ge=1)
    canary_percent: int = Field(10, ge=1, le=50)
    wait_seconds: int = Field(600, ge=0, le=3600)
    alarms: tuple[str, ...] = Field(min_length=1, max_length=10)
    environment: PlainVariables = Field(default_factory=dict)
    startup_seconds: int = Field(1800, ge=60, le=3600)
    volume_gb: int | None = Field(None, ge=1, le=512, description="disk, where a machine has none of its own")
    ami: str = Field("", pattern=r"^(al2[\w-]+)?$", description="image of the machine, with the driver that CUDA needs")
    scaling: EndpointScaling | None = None
    components: EndpointComponents | None = None

    @model_validator(mode="after")
    def _deployable(self) -> Self:
        if self.components is None and self.sizes[0] < 2:
            raise ValueError("a share of the machines is tried first, of two or more; components can go down to none")
        if self.components and self.environment:
            raise ValueError("environment belongs below components, where a base is served")
        return self

    @property
    def sizes(self) -> tuple[int, int]:
        """The least and the largest number of machines, or of copies of a base."""
        return (self.scaling.least, self.scaling.most) if self.scaling else (self.instances, self.instances)

    @property
    def startup(self) -> dict[str, int]:
        limits = ("ModelDataDownloadTimeoutInSeconds", "ContainerStartupHealthCheckTimeoutInSeconds")
        return dict.fromkeys(limits, self.startup_seconds)

    @property
    def update_options(self) -> dict[str, Any]:
        """The traffic policy of UpdateEndpoint. If components hold the models, only machines change."""
        if self.components:
            return {}
        size = {"Type": "CAPACITY_PERCENT", "Value": self.canary_percent}
        canary = {"Type": "CANARY", "CanarySize": size, "WaitIntervalInSeconds": self.wait_seconds}
        blue_green = {"TrafficRoutingConfiguration": canary, "TerminationWaitInSeconds": self.wait_seconds}
        rollback = {"Alarms": [{"AlarmName": name} for name in self.alarms]}
        options = {"DeploymentConfig": {"BlueGreenUpdatePolicy": blue_green, "AutoRollbackConfiguration": rollback}}
        # Or SageMaker would go back to the number of machines that it began with.
        return options | ({"RetainAllVariantProperties": True} if self.scaling else {})


class JobSettings(Settings):
    """The machines of one step. At `max_minutes` SageMaker ends the job; `expected_minutes` is for the estimate.
    `volume_gb`: disk for code, data, models and libraries."""

    instance_type: InstanceType
    instances: int = Field(1, ge=1)
    volume_gb: int = Field(30, ge=10)
    expected_minutes: float = Field(gt=0)
    max_minutes: int = Field(gt=0)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
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
    def _waits_long_enough(self) -> Self:
        if self.max_wait_minutes < self.max_minutes:
            raise ValueError("max_wait_minutes is below max_minutes, which it contains")
        return self


class SingleJob(JobSettings):
    instances: int = Field(1, ge=1, le=1)


class JobsSettings(Settings):
    process: SingleJob
    train: TrainJob
    evaluate: SingleJob


class SageMakerSettings(Settings):
    """`role`: ARN that the jobs run as. `prices`: US dollars an hour of each instance type, on demand.

    `environment`: variables of every job; `secrets`: of AWS Secrets Manager by the variable that a job shall have them
    in; it reads them itself, so that no definition shows them. `subnets` and `security_groups`: where jobs and models
    run. `kms_key`: for results, and for a machine's disk where it has none of its own. `tags`: of all that is made, for
    the bill.
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
    def _network(self) -> Self:
        if bool(self.subnets) != bool(self.security_groups):
            raise ValueError("subnets and security_groups go together")
        return self

    @model_validator(mode="after")
    def _has_the_driver(self) -> Self:
        if self.endpoint and _CUDA_13.search(self.serving_image) and self.endpoint_ami != CUDA_13_AMI:
            machine, ami = self.endpoint.instance_type, self.endpoint.ami
            wrong = f"ami {ami} has an older one" if ami else f"AWS documents none for {machine}"
            raise ValueError(f"endpoint: serving_image needs the driver of CUDA 13 ({CUDA_13_AMI}), and {wrong}")
        return self

    @property
    def endpoint_ami(self) -> str:
        """The image of an endpoint's machines; empty for SageMaker's default."""
        if not self.endpoint or self.endpoint.ami or not _CUDA_13.search(self.serving_image):
            return self.endpoint.ami if self.endpoint else ""
        return CUDA_13_AMI if self.endpoint.instance_type.split(".")[1] in CUDA_13_MACHINES else ""

    @property
    def vpc(self) -> dict[str, list[str]]:
        """VpcConfig of AWS's requests; empty if jobs run in AWS's network."""
        if not self.subnets:
            return {}
        return {"SecurityGroupIds": list(self.security_groups), "Subnets": list(self.subnets)}

    def volume_key(self, instance_type: str) -> str:
        return "" if _OWN_DISKS.fullmatch(instance_type.split(".")[1]) else self.kms_key

    @property
    def aws_tags(self) -> list[dict[str, str]]:
        return [{"Key": key, "Value": value} for key, value in self.tags.items()]

    @property
    def variables(self) -> dict[str, str]:
        """The variables of every job, with the names of its secrets."""
        named = {"SLUICE_SECRETS": json.dumps(self.secrets, sort_keys=True)} if self.secrets else {}
        return {**self.environment, "AWS_DEFAULT_REGION": self.region, **named}

    def missing(self) -> list[str]:
        """Return the keys to fill in before a pipeline can be started."""
        empty = [name for name in _NEEDED if not getattr(self, name)]
        used = dict.fromkeys(job.instance_type for job in (self.jobs.process, self.jobs.train, self.jobs.evaluate))
        return [*empty, *(f"prices.{one}" for one in used if one not in self.prices)]

    def uri(self, *parts: str) -> str:
        """Return an S3 address below the prefix."""
        return "/".join(("s3:/", self.bucket, self.prefix, *parts))


def read(config: Path) -> SageMakerSettings | None:
    """Return the settings in a folder of configuration; None if a fork has dropped the file."""
    path = config / FILE
    return load_settings(path, SageMakerSettings) if path.is_file() else None


def require(config: Path) -> SageMakerSettings:
    """Return the settings, or raise ValidationErrors with all that is missing."""
    settings = load_settings(config / FILE, SageMakerSettings)
    if missing := settings.missing():
        raise ValidationErrors(
            f"{config / FILE}: SageMaker is not set up",
            [f"{name}: is empty" if "." not in name else f"{name}: no price for what jobs use" for name in missing],
            remedy="engine/docs/reference/sagemaker.md says what goes there; `sluice doctor aws` looks at the account",
        )
    return settings
