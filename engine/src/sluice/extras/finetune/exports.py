"""Exports the trained model, one function for each format (`EXPORTS`). An export is loaded and tested before it gets
its final name.

gguf     adapter.gguf, what llama.cpp serves beside the base; llama.cpp loads it and answers
peft     peft/, an adapter for transformers, vLLM and others; loaded onto the base again, it answers
merged   merged/, a whole model as safetensors with its tokenizer; loaded from there alone, it answers
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sluice.core.atomic_files import read_json, write_json
from sluice.core.errors import SluiceError
from sluice.extras.finetune.base_model import computed_dtype, load_base
from sluice.extras.finetune.training_parameters import ExportKind, TrainingParameters
from sluice.llm.llama_server import probe

Array = npt.NDArray[np.float32]
_TOLERANCE = 0.05  # of the loss, and absolute: merged weights are rounded anew
_WEIGHTS = "adapter_model.safetensors"
_KEY = re.compile(r"(?:base_model\.model\.)?(?P<module>.+)\.lora_(?P<side>[AB])(?:\.default)?\.weight")


@dataclass(frozen=True)
class BaseModelShape:
    """The parts of a GGUF base's shape that name and order adapter tensors."""

    architecture: str
    blocks: int
    heads: int
    kv_heads: int


@dataclass(frozen=True)
class TrainingOutput:
    """A trained model to write. Adapters are served with the GGUF file `served`, of `shape`; `weights` is the trainer's
    folder; on the tokens of `sample` an export must have the same `loss`."""

    base: Path
    served: Path
    shape: BaseModelShape | None
    params: TrainingParameters
    weights: Path
    sample: Mapping[str, list[int]]
    loss: float


def _gguf(trained: TrainingOutput, folder: Path) -> tuple[Path, str]:
    from safetensors import safe_open

    out = folder / "adapter.gguf"
    if trained.shape is None:
        raise SluiceError(f"{trained.served}: no GGUF file to write an adapter for")
    with safe_open(trained.weights / _WEIGHTS, framework="pt") as file:
        state = {name: file.get_tensor(name).float().numpy() for name in file.keys()}  # noqa: SIM118 - no dictionary
    write_adapter(state, out, trained.shape, alpha=trained.params.alpha)
    probe(trained.served, out)
    return out, "llama.cpp answers with it"


def _peft(trained: TrainingOutput, folder: Path) -> tuple[Path, str]:
    from peft import PeftModel

    out = folder / "peft"
    out.mkdir()
    config = read_json(trained.weights / "adapter_config.json")
    config["target_modules"] = sorted(config["target_modules"])  # a set, in another order in each process
    config["base_model_name_or_path"] = trained.base.name  # a path of this machine must not be published
    write_json(out / "adapter_config.json", config)
    shutil.copyfile(trained.weights / _WEIGHTS, out / _WEIGHTS)
    base, tokenizer = load_base(trained.base, trained.params)
    return out, _tried(PeftModel.from_pretrained(base, out), tokenizer, trained, out)


def _merged(trained: TrainingOutput, folder: Path) -> tuple[Path, str]:
    import torch
    from peft import PeftModel

    out = folder / "merged"
    if trained.params.method == "full":
        whole, tokenizer = load_base(trained.weights, trained.params)
    else:
        base, tokenizer = load_base(trained.base, trained.params)
        whole = PeftModel.from_pretrained(base, trained.weights).merge_and_unload()
    whole.to(getattr(torch, computed_dtype(trained.params.dtype))).save_pretrained(out)
    tokenizer.save_pretrained(out)
    return out, _tried(*load_base(out, trained.params), trained, out)


# Each writes one form into a folder. Returns its file or folder and what it answered; SluiceError when it does not.
EXPORTS: dict[ExportKind, Callable[[TrainingOutput, Path], tuple[Path, str]]] = {
    "gguf": _gguf,
    "peft": _peft,
    "merged": _merged,
}


def _tried(model: Any, tokenizer: Any, trained: TrainingOutput, out: Path) -> str:
    """Return the export's answer to the sample's question; raise SluiceError if it isn't the trained model."""
    import torch

    from sluice.extras.finetune.sft_trainer import loss_of

    found = loss_of(model, trained.sample)
    if not abs(found - trained.loss) <= _TOLERANCE * (1 + trained.loss):
        raise SluiceError(
            f"{out.name}: the export does not answer as the trained model does: loss {found:.3f},"
            f" not {trained.loss:.3f}",
            remedy="set train.dtype to float32, if rounding is the reason",
        )
    asked = trained.sample["labels"].count(-100)
    prompt = torch.tensor([trained.sample["input_ids"][:asked]], device=model.device)
    said = model.generate(input_ids=prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=16, do_sample=False)
    return str(tokenizer.decode(said[0, prompt.shape[1] :], skip_special_tokens=True)).strip()


def read_shape(base: Path) -> BaseModelShape:
    import gguf

    fields = gguf.GGUFReader(base).fields
    architecture = str(fields["general.architecture"].contents())

    def number(name: str, default: int | None = None) -> int:
        field = fields.get(f"{architecture}.{name}")
        if field is None and default is None:
            raise SluiceError(f"{base}: the file says nothing of {architecture}.{name}")
        return int(field.contents()) if field is not None else int(default or 0)

    heads = number("attention.head_count")
    return BaseModelShape(architecture, number("block_count"), heads, number("attention.head_count_kv", heads))


# Architectures of bases that adapters can be written for. A Mistral is a llama in GGUF.
ARCHITECTURES = ("llama", "qwen2", "qwen3", "gemma3", "phi3")


def rows_in_gguf(module: str, rows: Array, shape: BaseModelShape) -> Array:
    """Return a module's output rows in GGUF's order: rotary halves of a llama's q and k are interleaved, so rows (head,
    half, i) become (head, i, half)."""
    heads = {"q_proj": shape.heads, "k_proj": shape.kv_heads}.get(module.rpartition(".")[2])
    if shape.architecture != "llama" or heads is None:
        return rows
    count, rank = rows.shape
    return rows.reshape(heads, 2, count // heads // 2, rank).swapaxes(1, 2).reshape(count, rank)


def require_known(shape: BaseModelShape) -> None:
    """Refuse unknown architectures before hours of training."""
    if shape.architecture not in ARCHITECTURES:
        raise SluiceError(
            f"no adapter export for the architecture {shape.architecture!r} (known: {', '.join(ARCHITECTURES)})",
            remedy=f"add it, with the order of its rows, to {__name__}, or choose another base model",
        )


def adapter_tensors(state: Mapping[str, Any], shape: BaseModelShape) -> dict[str, Array]:
    """Return GGUF tensors `blk.N.x.weight.lora_a` (rank, in) and `.lora_b` (out, rank) from peft's state dict."""
    import gguf

    require_known(shape)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[shape.architecture.upper()], shape.blocks)
    tensors = {}
    for key, value in state.items():
        found = _KEY.fullmatch(key)
        name = names.get_name(found["module"]) if found else None
        if found is None or name is None:
            raise SluiceError(
                f"the adapter tensor {key!r} has no name in GGUF", remedy="take its module out of `targets`"
            )
        array = np.ascontiguousarray(value, dtype=np.float32)
        if not np.isfinite(array).all():
            raise SluiceError(f"the adapter tensor {key!r} holds NaN or infinity", remedy="lower learning_rate")
        if found["side"] == "B":
            array = np.ascontiguousarray(rows_in_gguf(found["module"], array, shape))
        tensors[f"{name}.weight.lora_{found['side'].lower()}"] = array
    return tensors


def write_adapter(state: Mapping[str, Any], out: Path, shape: BaseModelShape, *, alpha: float) -> None:
    import gguf

    writer = gguf.GGUFWriter(out, shape.architecture)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", alpha)
    for name, array in sorted(adapter_tensors(state, shape).items()):
        writer.add_tensor(name, array.astype(np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
