"""Commands that SageMaker can be asked for, where it is not set up."""

from __future__ import annotations

import sys

import pytest

from conftest import ROOT
from sluice.cli import main
from sluice.core.workspace import Workspace


@pytest.mark.parametrize("words", [("train", "--on", "sagemaker"), ("endpoint", "deploy")])
def test_a_place_that_is_not_set_up_is_told(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    monkeypatch.chdir(workspace.root)
    (workspace.config / "sagemaker.yaml").write_bytes((ROOT / "config" / "sagemaker.yaml").read_bytes())
    monkeypatch.setattr(sys, "argv", ["sluice", *words])
    assert main() == 1
    assert "SageMaker is not set up" in capsys.readouterr().err
