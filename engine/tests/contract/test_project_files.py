"""What a project owns can be read: its prompts, its settings and its pass/fail numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sluice.core.settings import load_settings
from sluice.data import privacy as data_policy
from sluice.evaluation.comparison_policy import load_policy
from sluice.guardrails.settings import GuardrailSettings
from sluice.llm.model_files import Models, load_models
from sluice.llm.settings import PROMPT_ROLES, load_providers
from sluice.prompts import load_prompts
from sluice.release.gates import load_gates
from sluice.retrieval.stores import Stores
from sluice.rollout.canary_plan import load_plan
from sluice.serving.settings import ServiceSettings
from sluice.serving.telemetry.settings import TelemetrySettings

FILES: dict[str, Callable[[Path], Any]] = {
    "config/data.yaml": lambda root: data_policy.load_policy(root / "config"),
    "config/gates.yaml": lambda root: (
        load_gates(root / "config" / "gates.yaml"),
        load_policy(root / "config/gates.yaml"),
    ),
    "config/guardrails.yaml": lambda root: load_settings(root / "config" / "guardrails.yaml", GuardrailSettings),
    "config/models.yaml": lambda root: load_models(root / "config" / "models.yaml"),
    "config/providers.yaml": lambda root: load_providers(root / "config" / "providers.yaml", roles=Models.roles()),
    "config/service.yaml": lambda root: load_settings(root / "config" / "service.yaml", ServiceSettings),
    "config/stores.yaml": lambda root: load_settings(root / "config" / "stores.yaml", Stores),
    "config/telemetry.yaml": lambda root: load_settings(root / "config" / "telemetry.yaml", TelemetrySettings),
    "k8s/base/rollout.yaml": lambda root: load_plan(root / "k8s" / "base" / "rollout.yaml"),
    "prompts/": lambda root: load_prompts(root / "prompts", roles=PROMPT_ROLES),
}


@pytest.mark.parametrize("name", FILES)
def test_it_can_be_read(root: Path, name: str) -> None:
    assert FILES[name](root)
