"""The stage: what it refuses before anything is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from sluice.core.errors import SluiceError
from sluice.core.workspace import Workspace
from sluice.training.stage import run


def test_a_release_must_have_the_adapter_that_it_serves(workspace: Workspace) -> None:
    text = workspace.params.read_text()
    workspace.params.write_text(text.replace("train:\n", "train:\n  exports: [peft]\n"))
    with pytest.raises(SluiceError, match=r"train\.exports has no gguf.*\n.*sluice train --out DIR"):
        run(workspace)
    assert not workspace.build.exists()


def test_a_missing_file_of_rows_is_named(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(SluiceError, match=r"other\.jsonl"):
        run(workspace, rows=tmp_path / "other.jsonl")
