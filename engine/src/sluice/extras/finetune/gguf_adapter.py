"""Converts LoRA weights of peft into the GGUF adapter format of llama.cpp."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sluice.core.errors import SluiceError

Array = npt.NDArray[np.float32]
_KEY = re.compile(r"(?:base_model\.model\.)?(?P<module>.+)\.lora_(?P<side>[AB])(?:\.default)?\.weight")


@dataclass(frozen=True)
class BaseModelShape:
    """What naming and ordering adapter tensors needs to know of the base GGUF."""

    architecture: str
    blocks: int
    heads: int
    kv_heads: int


def read_shape(base: Path) -> BaseModelShape:
    """Read from the metadata of a GGUF file."""
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


def _llama_order(module: str, b: Array, shape: BaseModelShape) -> Array:
    """llama.cpp keeps the rotary halves of q and k interleaved: rows (head, half, i) become (head, i, half)."""
    heads = {"q_proj": shape.heads, "k_proj": shape.kv_heads}.get(module.rpartition(".")[2])
    if heads is None:
        return b
    rows, rank = b.shape
    return b.reshape(heads, 2, rows // heads // 2, rank).swapaxes(1, 2).reshape(rows, rank)


def _same_order(module: str, b: Array, shape: BaseModelShape) -> Array:  # noqa: ARG001
    return b


# How the output rows of a module are ordered in GGUF, by architecture of the base. A Mistral is a llama there.
ROW_ORDERS = {
    "llama": _llama_order,
    "qwen2": _same_order,
    "qwen3": _same_order,
    "gemma3": _same_order,
    "phi3": _same_order,
}


def require_known(shape: BaseModelShape) -> None:
    """SluiceError when adapters of this architecture cannot be written, for before hours of training."""
    if shape.architecture not in ROW_ORDERS:
        known = ", ".join(ROW_ORDERS)
        raise SluiceError(
            f"no adapter export for the architecture {shape.architecture!r} (known: {known})",
            remedy=f"add its row order to ROW_ORDERS in {__name__}, or choose another base model",
        )


def adapter_tensors(state: Mapping[str, Any], shape: BaseModelShape) -> dict[str, Array]:
    """GGUF tensors `blk.N.x.weight.lora_a` (rank, in) and `.lora_b` (out, rank) out of peft's state dict."""
    import gguf

    require_known(shape)
    order = ROW_ORDERS[shape.architecture]
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
            array = np.ascontiguousarray(order(found["module"], array, shape))
        tensors[f"{name}.weight.lora_{found['side'].lower()}"] = array
    if not tensors:
        raise SluiceError("the adapter has no tensors")
    return tensors


def write_adapter(state: Mapping[str, Any], out: Path, shape: BaseModelShape, *, alpha: float) -> None:
    """Writes the adapter to `out` in float16. The caller tries it (`llm.local.probe`) before it gets its final name."""
    import gguf

    tensors = adapter_tensors(state, shape)
    writer = gguf.GGUFWriter(out, shape.architecture)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", alpha)
    for name, array in sorted(tensors.items()):
        writer.add_tensor(name, array.astype(np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
