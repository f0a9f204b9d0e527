"""Everything one release is made of, as the service and the evaluation load it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sluice.app.settings import ServiceSettings
from sluice.guardrails.settings import GuardrailSettings
from sluice.prompts import Prompt

DRAFT = "draft"


@dataclass(frozen=True)
class Bundle:
    """`release`: a release id, or DRAFT for what is not released yet. `model` and `embedder` are GGUF files."""

    release: str
    prompts: Mapping[str, Prompt]
    index: Path
    adapter: Path | None
    model: Path
    embedder: Path
    service: ServiceSettings
    guardrails: GuardrailSettings
    manifest: Mapping[str, Any]
