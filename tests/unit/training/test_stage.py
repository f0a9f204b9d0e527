"""The stage: what it refuses before anything is loaded, and the command that is killed and given again."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from conftest import RealModels
from sluice.core.digests import digest_of_file
from sluice.core.errors import SluiceError
from sluice.core.workspace import Workspace
from sluice.data.rows import Document, Row, write_rows
from sluice.retrieval.chunking import ChunkerSettings
from sluice.retrieval.embedder import Embedder
from sluice.retrieval.index import build_index
from sluice.training.stage import run
from unit.training.process import Training
from unit.training.tiny import CODES, PARAMS


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
    """One whose prompts are short enough for the tiny model, with a row and a passage for each of its codes."""
    prompt = workspace.prompts / "finetune.prompt.yml"
    written = yaml.safe_load(prompt.read_text())
    written["messages"] = [{"role": "user", "content": "{{passages}} {{question}} Or: {{decline}}"}]
    prompt.write_text(yaml.safe_dump(written))
    params = yaml.safe_load(workspace.params.read_text())
    params["train"] = {**PARAMS.model_dump(mode="json"), "passages": 1}
    workspace.params.write_text(yaml.safe_dump(params))
    write_rows(
        workspace.data / "train.jsonl",
        [Row(id=name, question=f"Code of {name}?", answers=(code,), doc_ids=(name,)) for name, code in CODES.items()],
    )
    documents = [
        Document(id=name, title="C", licence="CC0-1.0", source="tests", text=f"The code of {name} is {code}.")
        for name, code in CODES.items()
    ]
    with Embedder(models.embed) as embedder:
        build_index(documents, embedder, models.specs.embed, ChunkerSettings(), workspace.build / "index")
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
