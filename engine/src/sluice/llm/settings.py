"""config/providers.yaml: who answers, in which order, and what is tolerated. Keys are named here, never written.

The numbers have no defaults: how long is waited and how often is tried again stands in the file.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from sluice.core.errors import Faults
from sluice.core.settings import Settings, load_settings, nearest

Kind = Literal["local", "openai_compatible", "openai", "anthropic", "bedrock", "sagemaker", "langchain"]
Parameter = Literal["temperature", "max_tokens", "top_p", "seed", "stop"]
PROMPT_ROLES = ("chat", "judge", "teacher")  # the roles that answer messages, so that a prompt may name them
_AWS = ("bedrock", "sagemaker")
# kind -> keys that it cannot do without
_NEEDS: dict[str, tuple[str, ...]] = {
    "openai": ("key_env",),
    "anthropic": ("key_env",),
    "bedrock": ("region",),
    "sagemaker": ("region",),
    "langchain": ("integration",),
}


class Timeouts(Settings):
    """Seconds. All of them lie within the deadline of the request (llm.timeout_seconds of config/service.yaml)."""

    connect: float = Field(gt=0, description="until the connection stands")
    queue: float = Field(ge=0, description="for one of the max_concurrency places to become free")
    first_token: float = Field(gt=0, description="from the first attempt to the first text, retries included")


class BreakerSettings(Settings):
    """Opens when `failures` of the last `window` answers failed; lets one request through after `open_seconds`."""

    window: int = Field(ge=1)
    failures: int = Field(ge=1)
    open_seconds: float = Field(gt=0)

    @model_validator(mode="after")
    def _can_open(self) -> Self:
        if self.failures > self.window:
            raise ValueError(f"failures {self.failures} can never be reached in a window of {self.window}")
        return self


class Prices(Settings):
    """US dollars for a million tokens."""

    input: float = Field(ge=0)
    output: float = Field(ge=0)


class ProviderSpec(Settings):
    """One provider of chat answers."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$")
    kind: Kind
    model: str = Field(min_length=1, description="as the provider calls it; for local, the role in models.yaml")
    base_url: str | None = Field(None, pattern=r"^https?://[^\s/]+", description="with /v1 where the provider has it")
    base_url_env: str | None = Field(None, description="variable with the address, where that differs by place")
    key_env: str | None = Field(None, pattern=r"^[A-Z][A-Z0-9_]*$", description="variable that holds the key")
    region: str | None = Field(None, description="of AWS")
    integration: str | None = Field(None, description="LangChain's name of the integration")
    timeouts: Timeouts
    retries: int = Field(ge=0, le=10, description="before the first token, after the first attempt")
    max_concurrency: int = Field(ge=1)
    breaker: BreakerSettings
    prices: Prices
    omit: tuple[Parameter, ...] = Field((), description="parameters that the model does not take")
    options: dict[str, Any] = Field(default_factory=dict, description="further fields of the request")

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        for key in _NEEDS.get(self.kind, ()):
            if getattr(self, key) is None:
                raise ValueError(f"kind {self.kind} needs {key}")
        if self.kind == "openai_compatible" and not (self.base_url or self.base_url_env):
            raise ValueError("kind openai_compatible needs base_url or base_url_env")
        if self.base_url and self.base_url_env:
            raise ValueError("base_url and base_url_env exclude each other")
        if self.kind == "local" and (self.base_url or self.base_url_env or self.key_env):
            raise ValueError("kind local has no base_url and no key: it runs in this process")
        if self.region and self.kind not in _AWS:
            raise ValueError(f"kind {self.kind} has no region")
        if self.integration and self.kind != "langchain":
            raise ValueError(f"kind {self.kind} has no integration")
        return self


class EmbedderSpec(Settings):
    """Who embeds. The index pins its embedder, so another one is another index; there is only the local one yet."""

    name: str
    kind: Literal["local"]
    model: Literal["embed"] = Field(description="the role in models.yaml")


class Providers(Settings):
    """The roles. The first provider of a role is asked first, the others when it fails."""

    chat: tuple[ProviderSpec, ...] = Field(min_length=1)
    judge: tuple[ProviderSpec, ...] = Field(description="empty: nobody judges")
    teacher: tuple[ProviderSpec, ...] = Field((), description="who writes rows (`sluice data generate`); empty: nobody")
    embed: tuple[EmbedderSpec, ...] = Field(min_length=1, max_length=1)

    @model_validator(mode="after")
    def _names_are_different(self) -> Self:
        for role in PROMPT_ROLES:
            names = [spec.name for spec in getattr(self, role)]
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise ValueError(f"{role}: two providers are named {twice[0]!r}")
        return self


def load_providers(path: Path, *, roles: list[str]) -> Providers:
    """Reads config/providers.yaml. `roles`: what a local model may be, the roles of config/models.yaml."""
    providers = load_settings(path, Providers)
    faults = [
        f"{path}: {spec.name}: model: no role {spec.model!r} in models.yaml{nearest(spec.model, roles)}"
        for spec in (*providers.chat, *providers.judge, *providers.teacher)
        if spec.kind == "local" and spec.model not in roles
    ]
    if faults:
        raise Faults(str(path), faults, remedy="a local provider names a role of config/models.yaml")
    return providers


def needs_local(specs: Sequence[ProviderSpec]) -> bool:
    """Whether the local llama.cpp must run for these providers."""
    return any(spec.kind == "local" for spec in specs)


def missing_keys(specs: Sequence[ProviderSpec]) -> list[str]:
    """The variables that hold keys of these providers and are not set here, as on a pull request from a fork."""
    return sorted({spec.key_env for spec in specs if spec.key_env and not os.environ.get(spec.key_env)})
