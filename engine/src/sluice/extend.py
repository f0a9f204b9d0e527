"""The engine's public interface: the only module to import in src/assistant/, tests/ and loadtest/.

Everything behind it may change with any version; what is named here changes only with a codemod. A name is loaded when
it is used: the service doesn't load the evaluation because a metric stands beside the application."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastapi import APIRouter

    from sluice.core.errors import SluiceError
    from sluice.core.settings import Settings
    from sluice.core.text import sentences
    from sluice.data.near_duplicates import words
    from sluice.data.rows import Row
    from sluice.evaluation.metrics import answer_key
    from sluice.evaluation.registry import Assertion, Label, Metric, MetricResources, Output, metric
    from sluice.guardrails.check import Check, CheckContext, CheckResources, Finding, PatternCheck, check
    from sluice.llm.chat import AnswerConstraint, ChatProvider, Delta, Messages, Usage
    from sluice.llm.provider_failures import FailureKind, ProviderError
    from sluice.llm.providers import ProviderContext, provider
    from sluice.llm.settings import AwsSpec, KeyedSpec, ProviderSpec, RemoteSpec
    from sluice.prompts import ModelParameters, Prompt
    from sluice.retrieval import Hit, format_history
    from sluice.rollout.load_stage import LoadStage, charge
    from sluice.rollout.locust_stage import ask, start_stage
    from sluice.serving.answer import Answer, ModelError, ModelTimeoutError, SearchError
    from sluice.serving.contracts import Application
    from sluice.serving.passage_retriever import format_passages
    from sluice.serving.request_state import RequestState
    from sluice.serving.routing import OPEN, ServicesDep, needs_scope
    from sluice.serving.services import ReleasePrompt, Services, tool
    from sluice.serving.telemetry.traces import TraceStep
    from sluice.testing import fakes as testing

# Module -> the names that it gives.
_NAMES = {
    "sluice.serving.contracts": ("Application",),  # `build(services) -> Application`, a Runnable of LangChain
    "sluice.serving.services": ("ReleasePrompt", "Services", "tool"),
    "sluice.serving.passage_retriever": ("format_passages",),
    "sluice.serving.request_state": ("RequestState",),
    "sluice.serving.answer": ("Answer", "ModelError", "ModelTimeoutError", "SearchError"),
    "sluice.serving.telemetry.traces": ("TraceStep",),
    "sluice.prompts": ("ModelParameters", "Prompt"),
    "sluice.retrieval": ("Hit", "format_history"),
    "sluice.llm.chat": ("AnswerConstraint", "ChatProvider", "Delta", "Messages", "Usage"),
    "fastapi": ("APIRouter",),  # endpoints of its own: src/assistant/routes.py
    "sluice.serving.routing": ("OPEN", "ServicesDep", "needs_scope"),
    # Metrics: src/assistant/metrics/.
    "sluice.evaluation.registry": ("Assertion", "Label", "Metric", "MetricResources", "Output", "metric"),
    "sluice.data.rows": ("Row",),
    "sluice.data.near_duplicates": ("words",),
    "sluice.evaluation.metrics": ("answer_key",),
    "sluice.core.text": ("sentences",),
    # Guardrails: src/assistant/guardrails/.
    "sluice.guardrails.check": ("Check", "CheckContext", "CheckResources", "Finding", "PatternCheck", "check"),
    # Providers: src/assistant/providers/.
    "sluice.llm.providers": ("ProviderContext", "provider"),
    "sluice.llm.settings": ("AwsSpec", "KeyedSpec", "ProviderSpec", "RemoteSpec"),
    "sluice.llm.provider_failures": ("FailureKind", "ProviderError"),
    # The load test: loadtest/.
    "sluice.rollout.locust_stage": ("ask", "start_stage"),
    "sluice.rollout.load_stage": ("LoadStage", "charge"),
    # All of them, and tests/.
    "sluice.core.errors": ("SluiceError",),
    "sluice.core.settings": ("Settings",),
    "sluice": ("testing",),
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names}
# fmt: off
__all__ = [  # noqa: RUF022 - as many on a line as fit
    "APIRouter", "Answer", "AnswerConstraint", "Application", "Assertion", "AwsSpec", "ChatProvider", "Check",
    "CheckContext", "CheckResources", "Delta", "FailureKind", "Finding", "Hit", "KeyedSpec", "Label", "LoadStage",
    "Messages", "Metric", "MetricResources", "ModelError", "ModelParameters", "ModelTimeoutError", "OPEN", "Output",
    "PatternCheck", "Prompt", "ProviderContext", "ProviderError", "ProviderSpec", "ReleasePrompt", "RemoteSpec",
    "RequestState", "Row", "SearchError", "Services", "ServicesDep", "Settings", "SluiceError", "TraceStep", "Usage",
    "answer_key", "ask", "charge", "check", "format_history", "format_passages", "metric", "needs_scope", "provider",
    "sentences", "start_stage", "testing", "tool", "words",
]
# fmt: on


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "testing":
        return importlib.import_module("sluice.testing.fakes")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted(_MODULES)
