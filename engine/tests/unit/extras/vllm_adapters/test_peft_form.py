"""The adapter in peft's form is the one in llama.cpp's, bit by bit, and peft loads it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file

from sluice.core.errors import SluiceError
from sluice.core.params import load_params
from sluice.core.workspace import Workspace
from sluice.extras.finetune.exports import BaseModelShape, write_adapter
from sluice.extras.finetune.training_parameters import TrainingParameters
from sluice.extras.vllm_adapters import peft_form
from sluice.extras.vllm_adapters.peft_form import pin_peft_form, write_peft
from sluice.testing.fakes import provider_entry

HEADS, KV_HEADS, HIDDEN, INNER, RANK = 4, 2, 32, 64, 4
SHAPE = BaseModelShape("llama", blocks=2, heads=HEADS, kv_heads=KV_HEADS)
ROWS = {
    "self_attn.q_proj": (HIDDEN, HIDDEN),
    "self_attn.k_proj": (HIDDEN, HIDDEN // 2),
    "self_attn.v_proj": (HIDDEN, HIDDEN // 2),
    "self_attn.o_proj": (HIDDEN, HIDDEN),
    "mlp.gate_proj": (HIDDEN, INNER),
    "mlp.up_proj": (HIDDEN, INNER),
    "mlp.down_proj": (INNER, HIDDEN),
}


PHI = {
    "self_attn.qkv_proj": (HIDDEN, 2 * HIDDEN),
    "self_attn.o_proj": (HIDDEN, HIDDEN),
    "mlp.gate_up_proj": (HIDDEN, 2 * INNER),
    "mlp.down_proj": (INNER, HIDDEN),
}


def state(architecture: str = "llama") -> dict[str, np.ndarray]:
    """As peft names and shapes it."""
    drawn, found = np.random.default_rng(0), {}
    for block in range(SHAPE.blocks):
        for module, (taken, given) in (PHI if architecture == "phi3" else ROWS).items():
            name = f"base_model.model.model.layers.{block}.{module}"
            found[f"{name}.lora_A.weight"] = drawn.standard_normal((RANK, taken), dtype=np.float32)
            found[f"{name}.lora_B.weight"] = drawn.standard_normal((given, RANK), dtype=np.float32)
    return found


def write_base(path: Path, architecture: str = "llama") -> Path:
    """A GGUF file that says how many heads there are, and has one norm."""
    import gguf

    writer = gguf.GGUFWriter(path, architecture)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_tensor("output_norm.weight", np.ones(HIDDEN, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    write_adapter(state(), tmp_path / "adapter.gguf", SHAPE, alpha=8)
    return tmp_path / "adapter.gguf"


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3", "phi3"])
def test_every_number_comes_back(tmp_path: Path, architecture: str) -> None:
    shape = BaseModelShape(architecture, SHAPE.blocks, SHAPE.heads, SHAPE.kv_heads)
    write_adapter(state(architecture), tmp_path / "adapter.gguf", shape, alpha=8)
    write_peft(tmp_path / "adapter.gguf", write_base(tmp_path / "base.gguf", architecture), tmp_path / "peft")
    found, expected = load_file(tmp_path / "peft" / "adapter_model.safetensors"), state(architecture)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].dtype == np.float16
        assert np.array_equal(found[name], value.astype(np.float16)), name


def test_the_same_adapter_has_the_same_bytes(tmp_path: Path, adapter: Path) -> None:
    base = write_base(tmp_path / "base.gguf")
    for name in ("one", "two"):
        write_peft(adapter, base, tmp_path / name)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_peft_loads_it_and_computes_what_the_numbers_say(tmp_path: Path, adapter: Path) -> None:
    torch = pytest.importorskip("torch")
    peft = pytest.importorskip("peft")
    from transformers import LlamaConfig, LlamaForCausalLM

    write_peft(adapter, write_base(tmp_path / "base.gguf"), tmp_path / "peft")
    config = LlamaConfig(
        vocab_size=80, hidden_size=HIDDEN, intermediate_size=INNER, num_hidden_layers=2, num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS,
    )  # fmt: skip
    base = LlamaForCausalLM(config)
    before = base.model.layers[1].self_attn.q_proj.weight.detach().clone()
    merged: Any = peft.PeftModel.from_pretrained(base, tmp_path / "peft").merge_and_unload()
    name = "base_model.model.model.layers.1.self_attn.q_proj.lora_"
    b, a = (state()[f"{name}{side}.weight"].astype(np.float16).astype(np.float32) for side in "BA")
    change = b @ a * (8 / RANK)
    after = merged.model.layers[1].self_attn.q_proj.weight.detach()
    assert torch.allclose(after, before + torch.from_numpy(change), atol=1e-5)


def test_what_is_not_known_is_refused(tmp_path: Path) -> None:
    import gguf

    base = write_base(tmp_path / "base.gguf")
    for architecture, tensor in (("gemma3", "blk.0.attn_q.weight.lora_a"), ("llama", "output.weight.lora_a")):
        path = tmp_path / f"{architecture}.gguf"
        writer = gguf.GGUFWriter(path, architecture)
        writer.add_float32("adapter.lora.alpha", 8)
        writer.add_tensor(tensor, np.ones((4, 8), np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    with pytest.raises(SluiceError, match="'gemma3', known are llama, qwen2, qwen3, phi3"):
        write_peft(tmp_path / "gemma3.gguf", base, tmp_path / "peft")
    with pytest.raises(SluiceError, match=r"output.weight.lora_a has no name in peft"):
        write_peft(tmp_path / "llama.gguf", base, tmp_path / "peft")
    assert not (tmp_path / "peft").exists()


@pytest.mark.parametrize("kind", ["vllm", "openai_compatible"])
def test_a_release_has_it_where_it_asks_a_vllm(
    tmp_path: Path, adapter: Path, kind: str, monkeypatch: pytest.MonkeyPatch, root: Path
) -> None:
    draft = tmp_path / "draft"
    shutil.copytree(root / "config", draft / "config")
    shutil.copy(adapter, draft / "adapter.gguf")
    entry = provider_entry(kind=kind, name="v", model="base", base_url="http://vllm:8000/v1")
    embed = {"name": "local", "kind": "local", "model": "embed"}
    providers = {"chat": [entry], "judge": [], "embed": [embed]}
    (draft / "config" / "providers.yaml").write_text(yaml.safe_dump(providers))
    base = write_base(tmp_path / "base.gguf")
    monkeypatch.setattr(peft_form, "ensure", lambda *_: base)
    pin_peft_form(draft, Workspace(tmp_path))
    assert (draft / "peft" / "adapter_config.json").is_file() == (kind == "vllm")


def test_vllm_takes_the_rank_that_is_trained(root: Path) -> None:
    deployment = (root / "engine" / "k8s" / "components" / "llm-vllm" / "deployment.yaml").read_text()
    (most,) = re.findall(r"--max-lora-rank=(\d+)", deployment)
    assert int(most) >= load_params(root / "pipelines" / "params.yaml", "train", TrainingParameters).rank
