"""config/providers.yaml: the providers of each role in order, and their limits, which have no defaults. It names keys
and never holds them."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, cast

from pydantic import Field, ModelWrapValidatorHandler, ValidationError, model_validator
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from sluice.core.errors import SluiceError, ValidationErrors
from sluice.core.extras import packages
from sluice.core.registry import APPLICATION, Registry
from sluice.core.settings import Settings, load_settings, nearest
from sluice.llm.chat import Usage

Parameter = Literal["temperature", "max_tokens", "top_p", "seed", "stop"]
KEYS = "PROVIDER_KEYS"
PROMPT_ROLES = ("chat", "judge", "teacher")  # the roles that answer messages, so that a prompt may name them


class Timeouts(Settings):
    """Seconds. All of them lie within the deadline of the request (llm.timeout_seconds of config/service.yaml)."""

    connect: float = Field(gt=0, description="until the connection stands")
    queue: float = Field(ge=0, description="waiting for one of the max_concurrency permits")
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
    cached: float | None = Field(None, ge=0, description="input out of the provider's cache; without: as input")

    def cost(self, usage: Usage | None) -> float | None:
        if usage is None:
            return None
        saved = (self.input - self.cached) * usage.cached_tokens if self.cached is not None else 0
        return (usage.prompt_tokens * self.input - saved + usage.completion_tokens * self.output) / 1_000_000


class ProviderSpec(Settings):
    """One provider of chat answers: the keys that every kind has. A kind adds its own in a subclass, which it names in
    `@provider`; validated as a ProviderSpec, an entry becomes the subclass of its kind."""

    takes_grammar: ClassVar[bool] = False  # whether it may be sent a grammar of llama.cpp

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$")
    kind: str
    model: str = Field(min_length=1, description="as the provider calls it; for local, the role in models.yaml")
    timeouts: Timeouts
    retries: int = Field(ge=0, le=10, description="before the first token, after the first attempt")
    max_concurrency: int = Field(ge=1)
    breaker: BreakerSettings
    prices: Prices
    omit: tuple[Parameter, ...] = Field((), description="parameters that the model does not take")
    options: dict[str, Any] = Field(default_factory=dict, description="further fields of the request")

    @property
    def remedy_for_a_missing_package(self) -> str:
        return "install engine/requirements/serve.txt, as `make setup` does"

    @model_validator(mode="wrap")
    @classmethod
    def _of_its_kind(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        kind = value.get("kind") if isinstance(value, dict) else None
        if cls is not ProviderSpec or not isinstance(kind, str):
            return handler(value)
        if kind not in PROVIDERS:
            known = sorted(PROVIDERS)
            what = f"no kind {kind!r}{nearest(kind, known)}; known: {', '.join(known)}"
            raise _invalid([_fault(what, ("kind",), kind)])
        spec = PROVIDERS[kind].spec
        # An entry that shares another's keys by an anchor of YAML takes one away by null.
        given = {
            key: one for key, one in value.items() if one is not None or key not in _TAKEN_AWAY - {*spec.model_fields}
        }
        try:
            return cast(Self, spec.model_validate(given))
        except ValidationError as error:
            raise _invalid([_of_kind(kind, spec, fault) for fault in error.errors()]) from None


@dataclass(frozen=True)
class ProviderKind:
    spec: type[ProviderSpec]
    connect: Callable[[Any], Any]


PROVIDERS: Registry[ProviderKind] = Registry(
    "kind of provider", "sluice.llm.providers", *packages("providers"), f"{APPLICATION}.providers"
)


class RemoteSpec(ProviderSpec):
    """A provider with an address and mostly a key."""

    base_url: str | None = Field(None, pattern=r"^https?://[^\s/]+", description="with /v1 where the provider has it")
    base_url_env: str | None = Field(None, description="variable with the address, where that differs by environment")
    key_env: str | None = Field(None, pattern=r"^[A-Z][A-Z0-9_]*$", description="variable that holds the key")

    @model_validator(mode="after")
    def _one_address(self) -> Self:
        if self.base_url and self.base_url_env:
            raise ValueError("base_url and base_url_env exclude each other")
        return self


class KeyedSpec(RemoteSpec):
    """A provider that nobody can ask without a key."""

    key_env: str = Field(pattern=r"^[A-Z][A-Z0-9_]*$", description="variable that holds the key")


class AwsSpec(RemoteSpec):
    """A provider in a region of AWS."""

    region: str = Field(description="of AWS")


_TAKEN_AWAY = {*RemoteSpec.model_fields, *AwsSpec.model_fields}


def _of_kind(kind: str, spec: type[ProviderSpec], fault: ErrorDetails) -> InitErrorDetails:
    """A fault of an entry in the words of its kind, where it is one of the kind's own keys."""
    key = str(fault["loc"][-1]) if fault["loc"] else ""
    if len(fault["loc"]) == 1 and fault["type"] == "extra_forbidden":
        what = f"unknown key: kind {kind} has no {key}{nearest(key, list(spec.model_fields))}"
    elif len(fault["loc"]) == 1 and fault["type"] == "missing" and key not in ProviderSpec.model_fields:
        what = f"kind {kind} needs {key}"
    elif fault["type"] == "extra_forbidden":
        what = f"unknown key {key!r}"
    else:
        what = fault["msg"]
    return _fault(what, fault["loc"], fault["input"])


def _fault(what: str, place: tuple[int | str, ...], value: Any) -> InitErrorDetails:
    return {"type": PydanticCustomError("provider", "{what}", {"what": what}), "loc": place, "input": value}


def _invalid(faults: list[InitErrorDetails]) -> ValidationError:
    return ValidationError.from_exception_data("ProviderSpec", faults)


class EmbedderSpec(Settings):
    """Who embeds. The index pins its embedder, so another one is another index; there is only the local one yet."""

    name: str
    kind: Literal["local"]
    model: Literal["embed"] = Field(description="the role in models.yaml")


class Providers(Settings):
    """The roles. The first provider of a role is asked first, the others when it fails."""

    chat: tuple[ProviderSpec, ...] = Field(min_length=1)
    judge: tuple[ProviderSpec, ...] = Field(description="providers that judge answers; may be empty")
    teacher: tuple[ProviderSpec, ...] = Field(
        (), description="providers that write rows (`sluice data start`); may be empty"
    )
    embed: tuple[EmbedderSpec, ...] = Field(min_length=1, max_length=1)

    @model_validator(mode="after")
    def _names_are_different(self) -> Self:
        for role in PROMPT_ROLES:
            names = [spec.name for spec in getattr(self, role)]
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise ValueError(f"{role}: two providers are named {twice[0]!r}")
        return self


def load_providers(path: Path, *, roles: list[str]) -> Providers:
    providers = load_settings(path, Providers)
    faults = [
        f"{path}: {spec.name}: model: no role {spec.model!r} in models.yaml{nearest(spec.model, roles)}"
        for spec in (*providers.chat, *providers.judge, *providers.teacher)
        if spec.kind == "local" and spec.model not in roles
    ]
    if faults:
        raise ValidationErrors(str(path), faults, remedy="a local provider names a role of config/models.yaml")
    return providers


def needs_local(specs: Sequence[ProviderSpec]) -> bool:
    return any(spec.kind == "local" for spec in specs)


def missing_keys(specs: Sequence[ProviderSpec]) -> list[str]:
    """The variables that these providers are asked with and that are not set here, as on a pull request. Credentials of
    AWS may lie elsewhere too, but on a runner of GitHub, where only the job itself can have signed in."""
    named = {spec.key_env for spec in specs if isinstance(spec, RemoteSpec) and spec.key_env}
    if os.environ.get("GITHUB_ACTIONS") == "true" and any(isinstance(s, AwsSpec) and not s.key_env for s in specs):
        named.add("AWS_ACCESS_KEY_ID")
    return sorted(name for name in named if not os.environ.get(name))


def take_keys(environment: MutableMapping[str, str]) -> None:
    """Sets the variables that PROVIDER_KEYS holds, `NAME=value` on each line, and takes it away. On GitHub it is the
    one secret of whatever providers a project names; GitHub masks its lines, so each value is masked here. SluiceError
    for a line that is something else, which is not repeated."""
    for number, line in enumerate(environment.pop(KEYS, "").split("\n"), 1):
        name, equals, value = (part.strip() for part in line.partition("="))
        if name and not (equals and value and re.fullmatch(r"[A-Z][A-Z0-9_]*", name)):
            raise SluiceError(
                f"{KEYS}: line {number} is not NAME=value", remedy=f"gh secret set {KEYS} --env evaluation"
            )
        if name:
            if environment.get("GITHUB_ACTIONS") == "true":
                print(f"::add-mask::{value}", file=sys.stderr)
            environment.setdefault(name, value)
