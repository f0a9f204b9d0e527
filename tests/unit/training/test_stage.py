"""The stage: what it refuses before anything is loaded, and the command that is killed and given again."""

from __future__ import annotations

from pathlib import Path

import pytest

from conftest import RealModels
from sluice.core.digests import digest_of_file
from sluice.core.errors import SluiceError
from sluice.core.workspace import Workspace
from sluice.training.stage import run
from unit.training.process import Training
from unit.training.tiny import write_codes


def test_a_release_must_have_the_adapter_that_it_serves(workspace: Workspace) -> None:
    text = workspace.params.read_text()
    workspace.params.write_text(text.replace("train:\n", "train:\n  exports: [peft]\n"))
    with pytest.raises(SluiceError, match=r"train\.exports has no gguf.*\n.*sluice train --out DIR"):
        run(workspace)
    assert not workspace.build.exists()


def test_a_missing_file_of_rows_is_named(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(SluiceError, match=r"other\.jsonl"):
        run(workspace, rows=tmp_path / "other.jsonl")


@pytest.fixture
def checkout(workspace: Workspace, models: RealModels) -> Workspace:
    write_codes(workspace, models)
    return workspace


@pytest.mark.real
def test_the_command_goes_on_after_each_kill_and_ends_as_if_there_was_none(
    checkout: Workspace, tiny_base: Path
) -> None:
    """Killed in training, the newest checkpoint broken, killed in the export: the weights of an unbroken run."""

    def train(name: str, death: str = "") -> tuple[int | None, str]:
        words = ("train", "--base", str(tiny_base), "--out", f"{name}/out", "--checkpoints", f"{name}/checkpoints")
        ended = Training(checkout.root, death, words=words).end()
        return ended.code, ended.output

    code, said = train("unbroken")
    assert code == 0, said
    broken = checkout.root / "broken"
    assert train("broken", "kill:11")[0] == -9
    (newest,) = broken.glob("checkpoints/*/step-000008.pt")
    newest.write_bytes(newest.read_bytes()[:-1] + b"?")
    code, said = train("broken", "kill:export")
    assert code == -9, said
    assert "step-000008.pt does not match its sha256" in said
    assert "step 4 of 12" not in said
    assert "step 5 of 12" in said
    assert not list(broken.glob("out/peft"))
    code, said = train("broken")
    assert code == 0, said
    assert "step" not in said
    weights = "out/peft/adapter_model.safetensors"
    assert digest_of_file(broken / weights) == digest_of_file(checkout.root / "unbroken" / weights)
    assert list((broken / "checkpoints").iterdir()) == []
