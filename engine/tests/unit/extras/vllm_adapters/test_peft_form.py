"""The adapter in peft's form equals the one in llama.cpp's bit by bit, and its base is told by its norms."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file, save_file

from sluice.core.atomic_files import write_json
from sluice.core.errors import SluiceError
from sluice.core.workspace import Workspace
from sluice.extras.finetune.exports import BaseModelShape, write_adapter
from sluice.extras.vllm_adapters import peft_form
from sluice.extras.vllm_adapters.peft_form import BASE_FILE, identify_base, pin_peft_form, require_base, write_peft
from sluice.testing.fakes import provider_entry
from unit.extras.finetune.tiny import add_norms, close_gguf, llama_with_norms
from unit.extras.finetune.tiny import model as tiny_model
from unit.extras.vllm_adapters.vllm_process import played_adapter, played_base

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
    drawn, found = np.random.default_rng(0), {}
    for block in range(SHAPE.blocks):
        for module, (taken, given) in (PHI if architecture == "phi3" else ROWS).items():
            name = f"base_model.model.model.layers.{block}.{module}"
            found[f"{name}.lora_A.weight"] = drawn.standard_normal((RANK, taken), dtype=np.float32)
            found[f"{name}.lora_B.weight"] = drawn.standard_normal((given, RANK), dtype=np.float32)
    return found


def write_base(path: Path, architecture: str = "llama") -> Path:
    import gguf

    writer = gguf.GGUFWriter(path, architecture)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_tensor("output_norm.weight", np.ones(HIDDEN, np.float32))
    close_gguf(writer)
    return path


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    write_adapter(state(), tmp_path / "adapter.gguf", SHAPE, alpha=8)
    return tmp_path / "adapter.gguf"


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "phi3"])
def test_every_number_comes_back(tmp_path: Path, architecture: str) -> None:
    shape = BaseModelShape(architecture, SHAPE.blocks, SHAPE.heads, SHAPE.kv_heads)
    write_adapter(state(architecture), tmp_path / "adapter.gguf", shape, alpha=8)
    base = write_base(tmp_path / "base.gguf", architecture)
    for folder in ("peft", "again"):
        write_peft(tmp_path / "adapter.gguf", base, tmp_path / folder)
    for path in (tmp_path / "peft").iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()
    found, expected = load_file(tmp_path / "peft" / "adapter_model.safetensors"), state(architecture)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].dtype == np.float16
        assert np.array_equal(found[name], value.astype(np.float16)), name


def test_peft_loads_it_and_computes_what_the_numbers_say(tmp_path: Path, adapter: Path) -> None:
    torch = pytest.importorskip("torch")
    peft = pytest.importorskip("peft")

    write_peft(adapter, write_base(tmp_path / "base.gguf"), tmp_path / "peft")
    base = tiny_model(width=HIDDEN)
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
        close_gguf(writer)
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


def model(seed: int) -> Any:
    return llama_with_norms(seed).bfloat16()


def pinned(made: Any, folder: Path) -> Path:
    import gguf

    folder.mkdir()
    writer = gguf.GGUFWriter(folder / "base.gguf", "llama")
    add_norms(writer, made)
    projection = made.model.layers[0].self_attn.q_proj.weight.detach().float().numpy()
    quantised = gguf.quants.quantize(projection, gguf.GGMLQuantizationType.Q8_0)
    writer.add_tensor("blk.0.attn_q.weight", quantised, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    close_gguf(writer)
    write_json(folder / BASE_FILE, identify_base(folder / "base.gguf"))
    return folder


@pytest.mark.parametrize("form", ["float16", "float32", "in parts"])
def test_a_model_is_itself_in_whatever_form_hugging_face_has_it(tmp_path: Path, form: str) -> None:
    torch = pytest.importorskip("torch")
    made = model(0)
    adapter = pinned(made, tmp_path / "adapter")
    parts = {"max_shard_size": "8KB"} if form == "in parts" else {}
    made.to(getattr(torch, form, torch.bfloat16)).save_pretrained(tmp_path / "base", **parts)
    assert (len(list((tmp_path / "base").glob("*.safetensors"))) > 1) == (form == "in parts")
    require_base(adapter, tmp_path / "base")


def test_another_of_the_same_shape_is_refused(tmp_path: Path) -> None:
    adapter = pinned(model(0), tmp_path / "adapter")
    model(1).save_pretrained(tmp_path / "base")
    with pytest.raises(SluiceError, match=r"another base model \(2 layers of 32\) than the adapter is for \(2 layers"):
        require_base(adapter, tmp_path / "base")


@pytest.fixture
def pinning(tmp_path: Path) -> Path:
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / BASE_FILE).write_bytes(played_adapter("alpha")[BASE_FILE])
    return tmp_path / "adapter"


def test_numbers_are_rounded_as_torch_rounds_them(pinning: Path, tmp_path: Path) -> None:
    require_base(pinning, played_base(tmp_path / "near", last=2.5078125))
    with pytest.raises(SluiceError, match="another base model"):
        require_base(pinning, played_base(tmp_path / "far", last=2.508))


def test_what_cannot_be_compared_is_refused(pinning: Path, tmp_path: Path) -> None:
    with pytest.raises(SluiceError, match=r"some-team/some-model: .*\n.*mount it here"):
        require_base(pinning, Path("some-team/some-model"))
    base = tmp_path / "base"
    save_file({"embedding.weight": np.ones((2, 2), np.float32)}, _made(base) / "model.safetensors")
    with pytest.raises(SluiceError, match="no Llama whose norms can be read"):
        require_base(pinning, base)
    (base / "model.safetensors").write_bytes(b"these are no tensors")
    with pytest.raises(SluiceError, match=r"model\.safetensors: .*\n.*put the model there again"):
        require_base(pinning, base)
    with pytest.raises(SluiceError, match=r"no base model is pinned\n.*make the release again"):
        require_base(base, played_base(base))


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
