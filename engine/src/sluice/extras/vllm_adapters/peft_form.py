"""A release's adapter in peft's form, which vLLM reads, made of the evaluated GGUF file: both hold the same float16
numbers. vLLM (0.32) silently registers an adapter of another base and answers with nonsense, so `peft/` also pins the
base by the weights of its norms: no quantisation or adapter changes them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sluice.core.atomic_files import read_json, write_json
from sluice.core.digests import digest_of
from sluice.core.errors import SluiceError
from sluice.core.settings import read_yaml
from sluice.core.workspace import Workspace
from sluice.extras.vllm_adapters.providers.vllm import KIND
from sluice.llm.model_files import ensure, load_models
from sluice.release.manifest import ADAPTER

BASE_FILE = "base_model.json"  # beside the adapter in peft's form
# Of a Llama: gguf/constants.py, TENSOR_NAMES, against transformers' LlamaForCausalLM.
_NORMS = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}
_TYPES = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}
_Norm = tuple[str, npt.NDArray[Any]]


def identify_base(base: Path) -> dict[str, Any]:
    """Return BASE_FILE's content for an adapter of the model in this GGUF file."""
    return _identity(_norms_of_gguf(base), base)


def require_base(adapter: Path, served: Path) -> None:
    """Compare the base that an adapter pins with the one that vLLM has read."""
    if not (adapter / BASE_FILE).is_file():
        raise SluiceError(f"{adapter}: no base model is pinned", remedy="make the release again")
    if not served.is_dir():
        raise SluiceError(
            f"{served}: vLLM has its base model from there, and here is no such folder to compare it with the adapter",
            remedy="give vLLM a folder, and mount it here under the same path",
        )
    wanted = read_json(adapter / BASE_FILE)
    if (found := _identity(_norms_of_folder(served), served)) != wanted:
        shapes = [f"{one['layers']} layers of {one['width']}" for one in (found, wanted)]
        raise SluiceError(
            f"{served}: vLLM serves another base model ({shapes[0]}) than the adapter is for ({shapes[1]})",
            remedy="put the model of `chat` in config/models.yaml there, and restart vLLM",
        )


def _identity(norms: Iterable[_Norm], where: Path) -> dict[str, Any]:
    bits = {name: _bfloat16(value) for name, value in norms}
    if "norm" not in bits:
        raise SluiceError(f"{where}: no Llama whose norms can be read", remedy="GGUF, or a folder with safetensors")
    digest = digest_of({name: value.tobytes().hex() for name, value in bits.items()})
    return {
        "layers": sum(name.endswith("input_layernorm") for name in bits),
        "width": bits["norm"].size,
        "norms": digest,
    }


def _bfloat16(values: npt.NDArray[Any]) -> npt.NDArray[np.uint16]:
    """Round to the nearest bfloat16, ties to even, as torch does."""
    if values.dtype == np.uint16:
        return values
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def _norms_of_gguf(base: Path) -> Iterator[_Norm]:
    from gguf import GGUFReader

    for tensor in GGUFReader(base).tensors:
        match tensor.name.split("."):
            case ["blk", block, name, "weight"] if name in _NORMS:
                yield f"layers.{block}.{_NORMS[name]}", tensor.data
            case ["output_norm", "weight"]:
                yield "norm", tensor.data


def _norms_of_folder(served: Path) -> Iterator[_Norm]:
    """Read the norms alone, since a large model would not fit, and by hand, since numpy has no bfloat16 (format:
    https://huggingface.co/docs/safetensors)."""
    for path in sorted(served.glob("*.safetensors")):
        try:
            held = np.memmap(path, np.uint8, "r")
            start = 8 + int(held[:8].view("<u8")[0])
            for name, about in json.loads(held[8:start].tobytes()).items():
                short = name.removeprefix("model.").removesuffix(".weight")
                if short == "norm" or short.rpartition(".")[2] in _NORMS.values():
                    begin, end = about["data_offsets"]
                    yield short, held[start + begin : start + end].view(_TYPES[about["dtype"]])
        except (OSError, ValueError, KeyError) as error:
            raise SluiceError(f"{path}: {type(error).__name__}: {error}", remedy="put the model there again") from error


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
    """Add `peft/` to a new release that asks a vLLM (hook)."""
    file = draft / "config" / "providers.yaml"
    # As it is written: what is not valid in it was refused before there was anything to release.
    if file.is_file() and any(entry.get("kind") == KIND for entry in read_yaml(file)[0].get("chat", ())):
        base = ensure(load_models(draft / "config" / "models.yaml").chat, workspace.cache)
        write_peft(draft / ADAPTER, base, draft / FOLDER)


def write_peft(adapter: Path, base: Path, folder: Path) -> None:
    """Write adapter_config.json, adapter_model.safetensors, and the base's identity."""
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
    """Return the heads of the two modules whose rows llama.cpp reorders."""
    from gguf import GGUFReader

    fields = GGUFReader(base).fields
    count = fields[f"{_INTERLEAVED}.attention.head_count"]
    few = fields.get(f"{_INTERLEAVED}.attention.head_count_kv", count)
    return {"attn_q": int(count.contents()), "attn_k": int(few.contents())}


def _tensor(adapter: Path, tensor: Any, modules: dict[str, str], heads: dict[str, int]) -> tuple[str, npt.NDArray[Any]]:
    """Return a tensor by peft's name. llama.cpp interleaves rotary halves of a Llama's q and k: rows (head, i, half)
    become (head, half, i)."""
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
