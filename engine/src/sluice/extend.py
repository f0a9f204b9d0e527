"""What a project may import of the engine: the only door for src/assistant/, tests/ and loadtest/.

    from sluice.extend import Metric, metric

Everything behind it may change with any version, what is named here only with a codemod. A name is loaded when it is
used: the service does not load the evaluation because a metric stands beside the application.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    pass

# Module -> the names that it gives.
_NAMES = {
    # The application: `build(services) -> Application`.
    "sluice.serving.contracts": ("Application",),
    "sluice.serving.services": ("Services", "render"),
    "sluice.serving.request_state": ("RequestState",),
    "sluice.serving.answer": ("Answer", "ModelError", "ModelTimeoutError", "SearchError"),
    "sluice.serving.telemetry.traces": ("Step",),
    "sluice.serving.tools": ("tool",),
    "sluice.prompts": ("ModelParameters", "Prompt"),
    "sluice.retrieval": ("Hit", "format_passages"),
    "sluice.llm.chat": ("ChatProvider", "Constrained", "Delta", "Messages", "Usage"),
    # Endpoints of its own: src/assistant/routes.py.
    "fastapi": ("APIRouter",),
    "sluice.serving.routing": ("OPEN", "needs_scope"),
    # Metrics: src/assistant/metrics/.
    "sluice.evaluation.registry": ("MetricResources", "metric"),
    "sluice.evaluation.output": ("Assertion", "Label", "Metric", "Output"),
    "sluice.data.rows": ("Row",),
    # Guardrails: src/assistant/guardrails/.
    "sluice.guardrails.check": ("Check", "Finding", "PatternCheck", "check"),
    "sluice.guardrails.context": ("CheckContext", "CheckResources"),
    # Providers: src/assistant/providers/.
    "sluice.llm.providers": ("provider",),
    "sluice.llm.providers.context": ("ProviderContext",),
    "sluice.llm.settings": ("AwsSpec", "KeyedSpec", "ProviderSpec", "RemoteSpec"),
    "sluice.llm.failures": ("Failure", "ProviderError"),
    # All of them, and tests/.
    "sluice.core.errors": ("SluiceError",),
    "sluice.core.settings": ("Settings",),
    "sluice": ("testing",),
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names}
__all__ = [*_MODULES]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "testing":
        return importlib.import_module("sluice.testing")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted(_MODULES)
