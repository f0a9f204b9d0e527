"""Kinds of providers, each added with `@provider`: here, in a folder of that name of an extra, and a fork's own in
src/assistant/providers/.

A kind is imported when an entry of config/providers.yaml names it. Libraries of a vendor are imported in `connect`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from sluice.core.errors import SluiceError
from sluice.llm.settings import PROVIDERS, ProviderKind, ProviderSpec, RemoteSpec
from sluice.prompts import ModelParameters

if TYPE_CHECKING:
    from sluice.llm.chat import ChatProvider

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


F = TypeVar("F", bound=Callable[[ProviderContext[Any]], "ChatProvider"])


def provider(kind: str, spec: type[ProviderSpec]) -> Callable[[F], F]:
    """Function decorator: config/providers.yaml may have entries of this kind.

    Args:
        kind: the name of the kind, best that of its file.
        spec: the keys of an entry. What has no default is needed, and what is not there is refused.

    Returns:
        The decorator of `connect(context) -> ChatProvider`, which sends nothing yet, and raises SluiceError when the
        provider cannot work.
    """

    def added(connect: F) -> F:
        PROVIDERS.add(kind, ProviderKind(spec, connect), connect.__module__)
        return connect

    return added


def connect(context: ProviderContext[Any]) -> ChatProvider:
    spec = context.spec
    try:
        made: ChatProvider = PROVIDERS[spec.kind].connect(context)
    except ImportError as error:
        raise SluiceError(
            f"config/providers.yaml: {spec.name}: kind {spec.kind} needs a package that is not installed: {error}",
            remedy=spec.remedy_for_a_missing_package,
        ) from error
    return made
