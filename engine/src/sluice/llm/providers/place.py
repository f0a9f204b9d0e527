"""What a provider is connected with: its entry of config/providers.yaml, and what only this process knows."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from sluice.core.errors import SluiceError
from sluice.llm.http import HttpClient
from sluice.llm.settings import ProviderSpec
from sluice.prompts import ModelParameters


@dataclass(frozen=True)
class Place:
    """`local_url`: where the local llama.cpp listens, without /v1; None when it does not run."""

    spec: ProviderSpec
    local_url: str | None = None

    def base_url(self, default: str | None = None) -> str | None:
        """The address without a slash at its end: from the file, from the variable it names, or the default."""
        if self.spec.base_url_env:
            return self._variable(self.spec.base_url_env).rstrip("/")
        found = self.spec.base_url or default
        return found.rstrip("/") if found else None

    def key(self) -> str | None:
        """The key out of the environment; None when the entry names no variable."""
        return self._variable(self.spec.key_env) if self.spec.key_env else None

    def client(self) -> HttpClient:
        return HttpClient(connections=self.spec.max_concurrency, connect_seconds=self.spec.timeouts.connect)

    def parameters(self, parameters: ModelParameters) -> dict[str, Any]:
        """The parameters that the model takes, by our names; without an empty `stop`. A grammar is llama.cpp's."""
        unknown = {str(name) for name in self.spec.omit} | ({"grammar"} if self.spec.kind != "local" else set())
        values = parameters.model_dump(exclude=unknown)
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
