"""The context of a provider: its entry in config/providers.yaml, and values that only this process knows."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sluice.core.errors import SluiceError
from sluice.llm.settings import ProviderSpec, RemoteSpec
from sluice.prompts import ModelParameters

S = TypeVar("S", bound=ProviderSpec, covariant=True)


@dataclass(frozen=True)
class ProviderContext(Generic[S]):
    """`local_url`: where the local llama.cpp listens, without /v1; None when it does not run."""

    spec: S
    local_url: str | None = None

    def base_url(self, default: str | None = None) -> str | None:
        """The address without a slash at its end: from the file, from the variable it names, or the default."""
        remote = self.spec if isinstance(self.spec, RemoteSpec) else None
        if remote and remote.base_url_env:
            return self._variable(remote.base_url_env).rstrip("/")
        found = (remote.base_url if remote else None) or default
        return found.rstrip("/") if found else None

    def key(self) -> str | None:
        """The key out of the environment; None when the entry names no variable."""
        named = self.spec.key_env if isinstance(self.spec, RemoteSpec) else None
        return self._variable(named) if named else None

    def parameters(self, parameters: ModelParameters) -> dict[str, Any]:
        """The parameters that the model takes, by our names; without an empty `stop`. A grammar is llama.cpp's."""
        unknown = {str(name) for name in self.spec.omit} | (set() if self.spec.takes_grammar else {"grammar"})
        values = parameters.model_dump(exclude={*unknown, "brief"})
        if not values.get("tools", True):
            del values["tools"], values["tool_choice"]
        if not values.get("response_format", True):
            del values["response_format"]
        if values.get("stop"):
            values["stop"] = list(values["stop"])
        else:
            values.pop("stop", None)
        return values

    def _variable(self, name: str) -> str:
        if value := os.environ.get(name, ""):
            return value
        raise SluiceError(
            f"config/providers.yaml: {self.spec.name}: the variable {name} is not set", remedy=f"export {name}=…"
        )
