"""The adapter in peft's form, which vLLM reads, made of the GGUF file that was evaluated: `peft/` of a release.

Both hold the same float16 numbers, bit by bit: what is registered at vLLM is what the gates have judged. It is pinned,
signed and rolled back like every file of the release.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sluice.core.atomic_files import write_json
from sluice.core.errors import SluiceError
from sluice.core.settings import read_yaml
from sluice.core.workspace import Workspace
from sluice.extras.vllm_adapters.base_model import FILE as BASE_FILE
from sluice.extras.vllm_adapters.base_model import identify_base
from sluice.extras.vllm_adapters.model_names import KIND
from sluice.llm.model_files import ensure, load_models
from sluice.release.manifest import ADAPTER

FOLDER = "peft"
# gguf/constants.py, TENSOR_NAMES, against transformers' LlamaForCausalLM and Phi3ForCausalLM.
_LLAMA = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_PHI = {
    "attn_qkv": "self_attn.qkv_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_up": "mlp.gate_up_proj",
    "ffn_down": "mlp.down_proj",
}
# Modules by architecture, without Gemma, whose norms GGUF keeps otherwise: `base_model` could not tell its base.
_MODULES = {"llama": _LLAMA, "qwen2": _LLAMA, "qwen3": _LLAMA, "phi3": _PHI}
_INTERLEAVED = "llama"


def pin_peft_form(draft: Path, workspace: Workspace) -> None:
    """Hook of a release that is being made: adds `peft/` where the release asks a vLLM."""
    file = draft / "config" / "providers.yaml"
    # As it is written: what is not valid in it was refused before there was anything to release.
    if file.is_file() and any(entry.get("kind") == KIND for entry in read_yaml(file)[0].get("chat", ())):
        base = ensure(load_models(draft / "config" / "models.yaml").chat, workspace.cache)
        write_peft(draft / ADAPTER, base, draft / FOLDER)


def write_peft(adapter: Path, base: Path, folder: Path) -> None:
    """Writes adapter_config.json, adapter_model.safetensors, and what the base model is."""
    from gguf import GGUFReader
    from safetensors.numpy import save_file

    reader = GGUFReader(adapter)
    architecture = str(reader.fields["general.architecture"].contents())
    if architecture not in _MODULES:
        raise SluiceError(
            f"{adapter}: an adapter of the architecture {architecture!r}, known are {', '.join(_MODULES)}",
            remedy=f"add its modules and the order of their rows to {__name__}",
        )
    heads = _heads(base) if architecture == _INTERLEAVED else {}
    tensors = dict(_tensor(adapter, one, _MODULES[architecture], heads) for one in reader.tensors)
    ranks = {value.shape[0] for name, value in tensors.items() if ".lora_A." in name}
    if len(ranks) != 1:
        raise SluiceError(f"{adapter}: modules of the ranks {sorted(ranks)}", remedy="train it with one rank")
    identity = identify_base(base)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": None,
        "bias": "none",
        "inference_mode": True,
        "lora_alpha": float(reader.fields["adapter.lora.alpha"].contents()),
        "r": ranks.pop(),
        "target_modules": sorted({name.split(".")[-3] for name in tensors}),
    }
    write_json(folder / "adapter_config.json", config)
    write_json(folder / BASE_FILE, identity)


def _heads(base: Path) -> dict[str, int]:
    """Heads of the two modules whose rows llama.cpp orders in its own way."""
    from gguf import GGUFReader

    fields = GGUFReader(base).fields
    count = fields[f"{_INTERLEAVED}.attention.head_count"]
    few = fields.get(f"{_INTERLEAVED}.attention.head_count_kv", count)
    return {"attn_q": int(count.contents()), "attn_k": int(few.contents())}


def _tensor(adapter: Path, tensor: Any, modules: dict[str, str], heads: dict[str, int]) -> tuple[str, npt.NDArray[Any]]:
    """A tensor by peft's name. Of a Llama llama.cpp keeps the rotary halves of q and k interleaved: rows
    (head, i, half) become (head, half, i)."""
    match tensor.name.split("."):
        case ["blk", block, module, "weight", "lora_a" | "lora_b" as side] if module in modules:
            value = np.array(tensor.data)
            if side == "lora_b" and module in heads:
                rows, rank = value.shape
                value = value.reshape(heads[module], rows // heads[module] // 2, 2, rank).swapaxes(1, 2)
                value = np.ascontiguousarray(value.reshape(rows, rank))
            name = f"base_model.model.model.layers.{block}.{modules[module]}.lora_{side[-1].upper()}.weight"
            return name, value
    raise SluiceError(
        f"{adapter}: the tensor {tensor.name} has no name in peft", remedy="take its module out of targets"
    )
