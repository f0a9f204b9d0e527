"""`endpoint:` of config/sagemaker.yaml: where approved packages are served, on what, and between which sizes."""

from __future__ import annotations

import re
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from sluice.core.settings import Settings

InstanceType = Annotated[str, Field(pattern=r"^ml\.[a-z0-9-]+\.[a-z0-9]+$")]
# Of AWS's image for vLLM, which starts with what SM_VLLM_… says; LMI takes adapters by itself.
_TAKES_ADAPTERS = ("SM_VLLM_ENABLE_LORA", "VLLM_ALLOW_RUNTIME_LORA_UPDATING")
_SECRET = re.compile(r"TOKEN|SECRET|PASSW|CREDENTIAL|(API|ACCESS|PRIVATE)_?KEY")


def _plain(variables: dict[str, str]) -> dict[str, str]:
    """Definitions, models and components show their variables to everybody who may describe them."""
    for name, value in variables.items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or len(name) > 512 or len(value) > 512:
            raise ValueError(f"{name}: not a variable that AWS takes, of at most 512 characters")
        if _SECRET.search(name.upper()):
            raise ValueError(f"{name}: looks like a secret, and everybody who may describe a job would read it")
    return variables


PlainVariables = Annotated[dict[str, str], AfterValidator(_plain)]


class EndpointScaling(Settings):
    """Machines, or copies of the base of components, by `requests` that each of them answers at a time."""

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

    `environment`: of the base's container, which names the model and that it takes adapters; `accelerators`,
    `memory_mb`: of a machine, for each copy; `keep`: adapters that stay, so that a release can be gone back to.
    """

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
    capture_percent: int = Field(0, ge=0, le=100, description="of requests and answers that are kept in the bucket")
    scaling: EndpointScaling | None = None
    components: EndpointComponents | None = None

    @model_validator(mode="after")
    def _deployable(self) -> Self:
        least = self.scaling.least if self.scaling else self.instances
        if self.components is None and least < 2:
            raise ValueError("a share of the machines is tried first, of two or more; components can go down to none")
        if self.components and self.environment:
            raise ValueError("environment belongs below components, where a base is served")
        return self
