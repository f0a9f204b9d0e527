"""Each export answers as the trained model does, and its tensors are as llama.cpp reads them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sluice.core.errors import SluiceError
from sluice.extras.finetune import exports
from sluice.extras.finetune.exports import BaseModelShape, adapter_tensors
from support.libraries import Library
from unit.extras.finetune.tiny import CODES, EXAMPLES, PARAMS, trained

Library("trl")
LEARNED = {"steps": 25, "batch": 1, "warmup": 2, "threads": 1}
SHAPE = BaseModelShape("llama", blocks=2, heads=2, kv_heads=1)
LAYER = "base_model.model.model.layers.1."


def learned(place: Path, **changes: Any) -> dict[str, Any]:
    made = trained(place, EXAMPLES[:1], **LEARNED | changes)
    assert all(any(path.glob("*.safetensors")) for path in made.values())
    return dict(exports.read_json(place / "out" / "training.json")["exports"])


def test_an_export_answers_what_was_learned(place: Path) -> None:
    answers = learned(place, exports=("peft", "merged"))
    assert {kind: answer.replace(" ", "") for kind, answer in answers.items()} == dict.fromkeys(
        ("peft", "merged"), CODES["alpha"]
    )
    config = exports.read_json(place / "out" / "peft" / "adapter_config.json")
    assert config["base_model_name_or_path"] == "base"
    assert config["target_modules"] == sorted(PARAMS.targets)


def test_all_weights_of_a_model(place: Path) -> None:
    answers = learned(place, method="full", exports=("merged",), learning_rate=5e-3)
    assert answers["merged"].replace(" ", "") == CODES["alpha"]


@pytest.mark.parametrize("kind", ["peft", "merged"])
def test_one_that_is_not_what_was_trained_is_refused(
    place: Path, monkeypatch: pytest.MonkeyPatch, kind: exports.ExportKind
) -> None:
    from peft import PeftModel
    from peft.tuners.lora import LoraModel

    if kind == "peft":
        monkeypatch.setattr(PeftModel, "from_pretrained", lambda base, _: base)
    else:
        monkeypatch.setattr(LoraModel, "merge_and_unload", lambda model: model.unload())
    with pytest.raises(SluiceError, match=f"{kind}: the export does not answer as the trained model does"):
        learned(place, exports=(kind,))
    assert not list((place / "out").iterdir())


def state(module: str, rows: int = 8) -> dict[str, np.ndarray]:
    return {
        f"{LAYER}{module}.lora_A.weight": np.ones((4, 16), np.float32),
        f"{LAYER}{module}.lora_B.weight": np.arange(rows * 4, dtype=np.float32).reshape(rows, 4),
    }


def test_what_cannot_be_exported_is_named() -> None:
    with pytest.raises(SluiceError, match="architecture 'falcon'"):
        adapter_tensors(state("mlp.down_proj"), BaseModelShape("falcon", 2, 2, 1))
    with pytest.raises(SluiceError, match="rotary_gate"):
        adapter_tensors(state("self_attn.rotary_gate"), SHAPE)
    broken = state("mlp.down_proj")
    broken[f"{LAYER}mlp.down_proj.lora_A.weight"][0, 0] = np.nan
    with pytest.raises(SluiceError, match="NaN"):
        adapter_tensors(broken, SHAPE)
