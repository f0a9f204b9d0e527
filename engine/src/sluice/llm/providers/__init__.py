"""One file for each kind of provider, each with `connect(place) -> ChatProvider`. It is imported when it is used.

To add a kind: a file here, its line in `KINDS`, its name in `settings.Kind`, a line in the contract test.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, cast

from sluice.core.errors import SluiceError

if TYPE_CHECKING:
    from sluice.llm.chat import ChatProvider
    from sluice.llm.providers.place import Place

KINDS = {
    "local": "sluice.llm.providers.local",
    "openai_compatible": "sluice.llm.providers.openai_compatible",
    "openai": "sluice.llm.providers.openai",
    "anthropic": "sluice.llm.providers.anthropic",
    "bedrock": "sluice.llm.providers.bedrock",
    "sagemaker": "sluice.llm.providers.sagemaker",
    "langchain": "sluice.llm.providers.langchain",
}


def connect(place: Place) -> ChatProvider:
    """The provider of a place in config/providers.yaml. Nothing is sent yet; SluiceError when it cannot work."""
    spec = place.spec
    try:
        return cast("ChatProvider", importlib.import_module(KINDS[spec.kind]).connect(place))
    except ImportError as error:
        raise SluiceError(
            f"config/providers.yaml: {spec.name}: kind {spec.kind} needs a package that is not installed: {error}",
            remedy="install engine/requirements/providers.txt"
            if spec.kind != "langchain"
            else f"add the package of the integration {spec.integration!r} to engine/requirements/providers.in",
        ) from error
