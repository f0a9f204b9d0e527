"""Whether the base model that a vLLM serves is the one that an adapter was made for.

vLLM registers an adapter of another base without a word (0.32), and answers with nonsense from then on. The weights of
the norms tell models apart: no quantisation touches them, and a GGUF file has them as float32 where a folder of Hugging
Face has them as bfloat16. An adapter does not change them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sluice.core.atomic_files import read_json
from sluice.core.digests import digest_of
from sluice.core.errors import SluiceError

FILE = "base_model.json"  # beside the adapter in peft's form
# Of a Llama: gguf/constants.py, TENSOR_NAMES, against transformers' LlamaForCausalLM.
_NORMS = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}
_TYPES = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}
_Norm = tuple[str, npt.NDArray[Any]]


def identify_base(base: Path) -> dict[str, Any]:
    """What FILE holds for an adapter of the model in this GGUF file. SluiceError when it has no weights."""
    return _identity(_norms_of_gguf(base), base)


def require_base(adapter: Path, served: Path) -> None:
    """Compares what an adapter pins with what a vLLM has read."""
    if not (adapter / FILE).is_file():
        raise SluiceError(f"{adapter}: no base model is pinned", remedy="make the release again")
    if not served.is_dir():
        raise SluiceError(
            f"{served}: vLLM has its base model from there, and here is no such folder to compare it with the adapter",
            remedy="give vLLM a folder, and mount it here under the same path",
        )
    wanted = read_json(adapter / FILE)
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
    """The bits, rounded to the nearest, of two as near to the even one, as torch rounds."""
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
    """Parts of the files alone, since all of a large model would not fit; and by hand, since numpy has no bfloat16 that
    the library could give (the format: https://huggingface.co/docs/safetensors)."""
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
