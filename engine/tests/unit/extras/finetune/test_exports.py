"""Each form of the result holds the trained model: it is loaded again and answers as that one."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import pytest

from sluice.core.errors import SluiceError
from sluice.extras.finetune import exports
from sluice.extras.finetune.base_model import load_base, tokenise
from sluice.extras.finetune.checkpoints import Checkpoints
from sluice.extras.finetune.exports import TrainingOutput, export
from sluice.extras.finetune.packing import pack
from sluice.extras.finetune.process_group import ProcessGroup
from sluice.extras.finetune.training_methods import prepare, trained_weights
from sluice.extras.finetune.training_parameters import ExportKind, TrainingParameters
from support.libraries import Library
from unit.extras.finetune.tiny import CODES, EXAMPLES, PARAMS

Library("peft")
LEARNED = {"steps": 25, "batch": 1, "warmup": 2, "threads": 1}


def learned(base: Path, **changes: Any) -> TrainingOutput:
    from sluice.extras.finetune.training_loop import fit

    params = TrainingParameters.model_validate(PARAMS.model_dump() | LEARNED | changes)
    model, tokenizer = load_base(base, params)
    packs, _ = pack(tokenise(EXAMPLES[:1], tokenizer), max_tokens=128, share=1)
    model = prepare(model, params)
    with TemporaryDirectory() as folder:
        checkpoints = Checkpoints(Path(folder), "0" * 64)
        fit(model, packs, params, lambda *_: None, ProcessGroup(0, 1, "cpu"), checkpoints)
    return TrainingOutput(base, base, None, params, trained_weights(model), packs[0])


@pytest.fixture(scope="module")
def adapter(tiny_base: Path) -> TrainingOutput:
    return learned(tiny_base)


@pytest.mark.parametrize("kind", ["peft", "merged"])
def test_it_answers_what_was_learned(adapter: TrainingOutput, tmp_path: Path, kind: ExportKind) -> None:
    path, answer = export(kind, adapter, tmp_path)
    assert answer.replace(" ", "") == CODES["alpha"]
    assert path == tmp_path / kind
    assert any(path.glob("*.safetensors"))


@pytest.mark.parametrize("kind", ["peft", "merged"])
def test_one_that_is_not_what_was_trained_is_refused(
    adapter: TrainingOutput, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: ExportKind
) -> None:
    """The base alone, written in its place."""
    from peft import PeftModel
    from peft.tuners.lora import LoraModel

    if kind == "peft":
        monkeypatch.setattr(PeftModel, "from_pretrained", lambda base, _: base)
    else:
        monkeypatch.setattr(LoraModel, "merge_and_unload", lambda model: model.unload())
    with pytest.raises(SluiceError, match=f"{kind}: the export does not answer as the trained model does"):
        export(kind, adapter, tmp_path)


def test_packed_weights_are_asked_where_they_are(adapter: TrainingOutput, monkeypatch: pytest.MonkeyPatch) -> None:
    """bitsandbytes has them on a GPU: an export that asked from a processor would end hours of training."""
    import torch

    where: list[str] = []

    def pack_loss(_model: Any, _item: Any, _dtype: Any, device: str = "cpu") -> float:
        where.append(device)
        return 1.0

    monkeypatch.setattr(exports, "pack_loss", pack_loss)
    exports._loss(SimpleNamespace(dtype=torch.bfloat16, device=torch.device("cuda:0")), adapter)
    assert where == ["cuda:0"]


def test_all_weights_of_a_model(tiny_base: Path, tmp_path: Path) -> None:
    full = learned(tiny_base, method="full", exports=("merged",), learning_rate=5e-3)
    assert len(full.weights) == 21
    _, answer = export("merged", full, tmp_path)
    assert answer.replace(" ", "") == CODES["alpha"]
