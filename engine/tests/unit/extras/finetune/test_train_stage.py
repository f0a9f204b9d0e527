"""The stage: what it refuses before anything is loaded, and the command that is killed and given again."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from conftest import RealModels
from sluice.core.digests import digest_of_file
from sluice.core.errors import SluiceError
from sluice.core.workspace import Workspace
from sluice.extras.finetune import train_stage
from sluice.extras.finetune.train_stage import run
from sluice.llm import model_files
from sluice.llm.model_files import PinnedFiles, ensure_source
from unit.extras.finetune.process import Training
from unit.extras.finetune.tiny import write_codes


def test_a_release_must_have_the_adapter_that_it_serves(workspace: Workspace) -> None:
    text = workspace.params.read_text()
    workspace.params.write_text(text.replace("train:\n", "train:\n  exports: [peft]\n"))
    with pytest.raises(SluiceError, match=r"train\.exports has no gguf.*\n.*sluice train --out DIR"):
        run(workspace)
    assert not workspace.build.exists()


def test_a_missing_file_of_rows_is_named(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(SluiceError, match=r"other\.jsonl"):
        run(workspace, rows=tmp_path / "other.jsonl")


def test_of_the_processes_of_a_machine_one_downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four that begin at the same time. Each looks at the digest all the same."""
    origin = tmp_path / "model.safetensors"
    origin.write_bytes(b"weights")
    spec = PinnedFiles(source=f"file:{origin}", sha256=digest_of_file(origin))
    real, fetched, begin = model_files.fetch, [], threading.Barrier(4)
    monkeypatch.setattr(model_files, "fetch", lambda source, folder: fetched.append(source) or real(source, folder))

    def process(_: int) -> bytes:
        begin.wait(60)
        return train_stage.fetched_once(ensure_source, spec, tmp_path / "cache").read_bytes()

    with ThreadPoolExecutor(4) as processes:
        assert list(processes.map(process, range(4))) == [b"weights"] * 4
    assert len(fetched) == 1
    next((tmp_path / "cache").rglob("model.safetensors")).write_bytes(b"others")
    with pytest.raises(SluiceError, match="sha256 is"):
        train_stage.fetched_once(ensure_source, spec, tmp_path / "cache")


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
    (newest,) = broken.glob("checkpoints/*/checkpoint-8/optimizer.pt")
    newest.write_bytes(newest.read_bytes()[:-1] + b"?")
    code, said = train("broken", "kill:export")
    assert code == -9, said
    assert "checkpoint-8 does not match the sha256 of optimizer.pt" in said
    assert "step 4 of 12" not in said
    assert "step 5 of 12" in said
    assert not list(broken.glob("out/peft"))
    code, said = train("broken")
    assert code == 0, said
    assert "step" not in said
    weights = "out/peft/adapter_model.safetensors"
    assert digest_of_file(broken / weights) == digest_of_file(checkout.root / "unbroken" / weights)
    assert list((broken / "checkpoints").iterdir()) == []
