"""The guard model where a release is served: by the hook of the extra, and by the code that decides."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sluice.core.errors import SluiceError
from sluice.guardrails.check import GUARD_FILE
from sluice.guardrails.guards import GuardOutcome
from sluice.guardrails.settings import GuardrailSettings
from sluice.serving.release_parts import ReleaseBundle
from sluice.serving.runtime import open_guards
from support.guard_models import save_guard_model, trusting_model
from support.serving.fakes import scripted_bundle


def embed(texts: Any) -> Any:
    raise AssertionError(f"the embedder is asked for {texts}")


@pytest.fixture
def bundle(tmp_path: Path) -> ReleaseBundle:
    """A release with the check `attack` and an index of the embedder eee…, whose guard model is not there yet."""
    (tmp_path / "index.json").write_text(json.dumps({"embedder": {"sha256": "e" * 64}}))
    output = [{"check": "secrets", "action": "block"}]
    stages = {"input": [{"check": "attack", "action": "block"}], "output": output}
    settings = GuardrailSettings.model_validate({"timeout_seconds": 60} | stages)
    return dataclasses.replace(scripted_bundle(), guardrails=settings, index=tmp_path, guard=tmp_path / GUARD_FILE)


def test_a_release_is_served_with_its_file(bundle: ReleaseBundle) -> None:
    embedder: Any = SimpleNamespace(embed=embed)
    with pytest.raises(SluiceError, match="no such file"):
        open_guards(bundle, embedder)
    assert bundle.guard is not None
    save_guard_model(trusting_model("e" * 64), bundle.guard)
    question = "What is a canary?"
    assert asyncio.run(open_guards(bundle, embedder).check_input(question)) == GuardOutcome(question, False, ())
