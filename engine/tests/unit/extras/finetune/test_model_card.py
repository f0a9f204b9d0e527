# ruff: noqa: F811 - a fixture that is imported is named by the tests
"""The model card: what MLflow recorded of a release, for people."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from sluice.core.errors import SluiceError
from sluice.core.workspace import Workspace
from sluice.extras.finetune.model_card import model_card
from sluice.release.manifest import Manifest
from sluice.release.mlflow_registry import record_release
from unit.release.conftest import make, workspace  # noqa: F401 - fixtures

Make = Callable[..., tuple[Manifest, Path]]


def test_the_card_says_what_it_is_made_of_and_what_it_scored(workspace: Workspace, make: Make) -> None:
    path = workspace.build / "adapter" / "training.json"
    more = {"base_sha256": "b" * 64, "hardware": {"device": "a processor", "cores": 2}, "peak_memory_bytes": 3 << 30}
    path.write_text(json.dumps(json.loads(path.read_text()) | more))
    manifest, folder = make()
    with pytest.raises(SluiceError, match="MLflow has no finished run of it"):
        model_card(workspace, manifest)
    record_release(workspace, manifest, folder)
    card = model_card(workspace, manifest)
    assert card.startswith("# sluice-adapter version 1\n")
    assert manifest.adapter is not None
    for line in (
        f"| adapter sha256 | {manifest.adapter.sha256} |",
        f"| trained on sha256 | {'b' * 64} |",
        "| rank | 16 |",
        "| hardware_device | a processor |",
        "| train_loss | 1.5 |",
        "| f1 | 0.5 |",
    ):
        assert line in card.splitlines(), line
    assert "| judge |" not in card
    assert "| training" not in card


def test_without_an_adapter_there_is_no_card(workspace: Workspace, make: Make) -> None:
    with pytest.raises(SluiceError, match="has no adapter"):
        model_card(workspace, make(adapter=None)[0])
