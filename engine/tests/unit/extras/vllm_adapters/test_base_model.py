"""The base of an adapter is told from others by what quantisation and a change of the form leave alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from sluice.core.atomic_files import write_json
from sluice.core.errors import SluiceError
from sluice.extras.vllm_adapters.base_model import FILE, identify_base, require_base
from unit.extras.vllm_adapters.vllm_process import played_adapter, played_base

Model = Callable[[int], Any]


@pytest.fixture
def model() -> Model:
    """A Llama of two layers by a seed; its norms are bfloat16, as those of published models."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")

    def make(seed: int) -> Any:
        torch.manual_seed(seed)
        config = transformers.LlamaConfig(
            vocab_size=64, hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2
        )
        made = transformers.LlamaForCausalLM(config)
        for name, weight in made.named_parameters():
            if name.endswith("norm.weight"):
                torch.nn.init.normal_(weight, mean=1, std=0.1)
        return made.to(torch.bfloat16)

    return make


def pinned(made: Any, folder: Path) -> Path:
    """The folder of an adapter for this model, which llama.cpp has quantised."""
    gguf = pytest.importorskip("gguf")
    from unit.extras.vllm_adapters.trained import add_norms

    folder.mkdir()
    writer = gguf.GGUFWriter(folder / "base.gguf", "llama")
    add_norms(writer, made)
    projection = made.model.layers[0].self_attn.q_proj.weight.detach().float().numpy()
    quantised = gguf.quants.quantize(projection, gguf.GGMLQuantizationType.Q8_0)
    writer.add_tensor("blk.0.attn_q.weight", quantised, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    write_json(folder / FILE, identify_base(folder / "base.gguf"))
    return folder


@pytest.mark.parametrize("form", ["bfloat16", "float16", "float32", "in parts"])
def test_a_model_is_itself_in_whatever_form_hugging_face_has_it(model: Model, tmp_path: Path, form: str) -> None:
    torch = pytest.importorskip("torch")
    made = model(0)
    adapter = pinned(made, tmp_path / "adapter")
    parts = {"max_shard_size": "8KB"} if form == "in parts" else {}
    made.to(getattr(torch, form, torch.bfloat16)).save_pretrained(tmp_path / "base", **parts)
    assert (len(list((tmp_path / "base").glob("*.safetensors"))) > 1) == (form == "in parts")
    require_base(adapter, tmp_path / "base")


def test_another_of_the_same_shape_is_refused(model: Model, tmp_path: Path) -> None:
    adapter = pinned(model(0), tmp_path / "adapter")
    model(1).save_pretrained(tmp_path / "base")
    with pytest.raises(SluiceError, match=r"another base model \(2 layers of 32\) than the adapter is for \(2 layers"):
        require_base(adapter, tmp_path / "base")


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / FILE).write_bytes(played_adapter("alpha")[FILE])
    return tmp_path / "adapter"


def test_numbers_are_rounded_as_torch_rounds_them(adapter: Path, tmp_path: Path) -> None:
    """To the nearest, and in the middle of two to the even one: 2.5078125 to 2.5, 2.508 to 2.515625."""
    require_base(adapter, played_base(tmp_path / "near", last=2.5078125))
    with pytest.raises(SluiceError, match="another base model"):
        require_base(adapter, played_base(tmp_path / "far", last=2.508))


def test_what_cannot_be_compared_is_refused(adapter: Path, tmp_path: Path) -> None:
    """vLLM's own name of its model may be one of a hub."""
    with pytest.raises(SluiceError, match=r"some-team/some-model: .*\n.*mount it here"):
        require_base(adapter, Path("some-team/some-model"))
    base = tmp_path / "base"
    save_file({"embedding.weight": np.ones((2, 2), np.float32)}, _made(base) / "model.safetensors")
    with pytest.raises(SluiceError, match="no Llama whose norms can be read"):
        require_base(adapter, base)
    (base / "model.safetensors").write_bytes(b"these are no tensors")
    with pytest.raises(SluiceError, match=r"model\.safetensors: .*\n.*put the model there again"):
        require_base(adapter, base)
    with pytest.raises(SluiceError, match=r"no base model is pinned\n.*make the release again"):
        require_base(base, played_base(base))


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
