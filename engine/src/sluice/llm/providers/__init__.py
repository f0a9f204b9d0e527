"""One file for each kind of provider, which adds it with `@provider`: here, in a folder of that name of an extra, and a
fork's own in src/assistant/providers/.

A kind is imported when an entry of config/providers.yaml names it. Libraries of a vendor are imported in `connect`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from sluice.core.errors import SluiceError
from sluice.core.extras import packages
from sluice.core.registry import APPLICATION, Registry
from sluice.llm.settings import ProviderSpec

if TYPE_CHECKING:
    from sluice.llm.chat import ChatProvider
    from sluice.llm.providers.context import ProviderContext

    Connect = Callable[[ProviderContext[Any]], ChatProvider]
F = TypeVar("F", bound="Connect")


@dataclass(frozen=True)
class ProviderKind:
    """What an entry of a kind is validated with, and what makes a provider of it."""

    spec: type[ProviderSpec]
    connect: Connect


PROVIDERS: Registry[ProviderKind] = Registry(
    "kind of provider", "sluice.llm.providers", *packages("providers"), f"{APPLICATION}.providers"
)


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
    """The provider of an entry in config/providers.yaml. Nothing is sent yet; SluiceError when it cannot work."""
    spec = context.spec
    try:
        return PROVIDERS[spec.kind].connect(context)
    except ImportError as error:
        raise SluiceError(
            f"config/providers.yaml: {spec.name}: kind {spec.kind} needs a package that is not installed: {error}",
            remedy=spec.remedy_for_a_missing_package,
        ) from error
