"""What is trainable under each method, and what is refused."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from pydantic import ValidationError

from sluice.core.errors import SluiceError
from sluice.extras.finetune.base_model import load_base
from sluice.extras.finetune.training_methods import add_adapter, prepare
from sluice.extras.finetune.training_parameters import TrainingParameters
from support.libraries import Library
from unit.extras.finetune.tiny import model

Library("peft")


def test_upper_layers_only() -> None:
    adapted = add_adapter(model(), TrainingParameters(layers=1))
    trained = [name for name, parameter in adapted.named_parameters() if parameter.requires_grad]
    assert trained
    assert all(".layers.1." in name for name in trained)
    with pytest.raises(SluiceError, match=r"train\.layers is 3, but the model has only 2"):
        add_adapter(model(), TrainingParameters(layers=3))
    with pytest.raises(SluiceError, match=r"train\.targets"):
        add_adapter(model(), TrainingParameters(targets=("no_such_projection",)))


def test_full_trains_every_weight() -> None:
    whole = prepare(model(), TrainingParameters(method="full", exports=("merged",)))
    assert all(parameter.requires_grad for parameter in whole.parameters())


def test_qlora_needs_a_gpu_and_says_so(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    params = TrainingParameters(method="qlora")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SluiceError, match=r"qlora, which needs a CUDA GPU.*\n.*set train\.method to lora"):
        load_base(tiny_base, params)
    file = tiny_base / "base.gguf"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())
    file.write_bytes(b"GGUF")
    with pytest.raises(SluiceError, match=r"this is a GGUF file\n.*`weights`"):
        load_base(file, params)
    file.unlink()


@pytest.mark.parametrize(
    ("method", "exports", "reason"),
    [("full", ("gguf",), "trains no adapter"), ("qlora", ("merged",), "cannot be merged")],
)
def test_a_form_that_a_method_has_not_is_refused(method: str, exports: tuple[str, ...], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        TrainingParameters.model_validate({"method": method, "exports": exports})
