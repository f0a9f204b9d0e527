"""Loads the base model and its tokenizer, for one process or several that torchrun starts together: they join before a
model is loaded, through nccl on GPUs and gloo on CPUs."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from sluice.core.digests import digest_of, digest_of_file
from sluice.core.errors import SluiceError
from sluice.core.extras import install_training_packages
from sluice.extras.finetune.dataset import Example
from sluice.extras.finetune.training_parameters import TrainingParameters

_QLORA = "engine/src/sluice/extras/finetune/requirements/qlora.txt"
# Flags of /proc/cpuinfo. AVX-512 without AVX512_BF16 is not enough: torch then converts element by element, which is
# 10 to 100 times slower than float32 (pytorch issues 118499 and 146508).
_MULTIPLY_BFLOAT16 = {"amx_bf16", "avx512_bf16", "bf16", "svebf16"}
# For a process that lives but does not answer; a dead one is noticed at once. The others wait while the first writes
# and hashes a checkpoint, which has 96 GB where 8 billion weights are trained.
PATIENCE = timedelta(hours=1)


def require_training_packages() -> None:
    needed = ("torch", "transformers", "accelerate", "peft", "trl", "datasets", "gguf")
    if any(importlib.util.find_spec(name) is None for name in needed):
        install_training_packages("train")


@dataclass(frozen=True)
class ProcessGroup:
    """This process among those that train together; process 0 alone writes files and reports."""

    rank: int
    world: int
    device: str

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def agreed(self, value: Any) -> Any:
        """Return the value of process 0 on every process."""
        box = [value]
        if self.world > 1:
            import torch

            torch.distributed.broadcast_object_list(box, src=0)
        return box[0]


def world_size() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextlib.contextmanager
def joined(device: str) -> Iterator[ProcessGroup]:
    """Join the group that torchrun's environment names, for the block."""
    import torch

    cuda = torch.cuda.is_available()
    if device == "cuda" and not cuda:
        raise SluiceError("train.device is cuda, but torch finds no GPU here", remedy="set it to auto or cpu")
    place = f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if cuda and device != "cpu" else "cpu"
    group = ProcessGroup(int(os.environ.get("RANK", "0")), world_size(), place)
    try:
        if group.world > 1:
            if place != "cpu":
                torch.cuda.set_device(place)
            backend = "gloo" if place == "cpu" else "cpu:gloo,cuda:nccl"
            torch.distributed.init_process_group(backend, rank=group.rank, world_size=group.world, timeout=PATIENCE)
        yield group
    finally:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def computed_dtype(
    dtype: Literal["auto", "bfloat16", "float32"], device: str = "cpu"
) -> Literal["bfloat16", "float32"]:
    """Return `dtype`; for auto, bfloat16 where the device multiplies it in hardware, else float32."""
    if dtype != "auto":
        return dtype
    if device == "cpu":
        fast = bool(_MULTIPLY_BFLOAT16 & processor_flags())
    else:
        import torch

        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    return "bfloat16" if fast else "float32"


def processor_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> set[str]:
    """Return the first core's feature flags; none outside Linux, as torch has no bfloat16 kernels for Apple's cores."""
    if sys.platform != "linux":
        return set()
    lines = cpuinfo.read_text(errors="replace").splitlines()
    # x86 has `flags`, Arm has `Features`.
    flags = (line.partition(":")[2] for line in lines if line.startswith(("flags", "Features")))
    return set(next(flags, "").split())


def load_base(path: Path, params: TrainingParameters, group: ProcessGroup | None = None) -> tuple[Any, Any]:
    """Return (model, tokenizer) of any causal model that transformers reads."""
    if not path.exists():
        raise SluiceError(f"{path}: the base model is missing", remedy="fetch it with `sluice models pull`")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    folder = path if path.is_dir() else path.parent
    file = {"gguf_file": path.name} if is_gguf(path) else {}
    dtype = computed_dtype(params.dtype, group.device if group else "cpu")
    options = {"quantization_config": GgufConfig(dequantize=True)} if file else {}
    if params.method == "qlora":
        options = _packed(path)
    with quiet(), parsed_once():
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, **file, local_files_only=True)
            model = AutoModelForCausalLM.from_pretrained(
                folder,
                **file,
                **options,
                # Trained weights are float32, and computed with in `dtype`, so that small steps are not lost.
                dtype=torch.float32 if params.method == "full" else getattr(torch, dtype),
                attn_implementation="sdpa" if params.attention == "auto" else params.attention,
                local_files_only=True,  # what it needs was fetched and checked before
            )
        except (OSError, ValueError, LookupError, NotImplementedError, ImportError) as error:
            raise SluiceError(f"{path}: transformers cannot read this model: {error}") from error
    if tokenizer.chat_template is None:
        raise SluiceError(f"{path}: its tokenizer has no chat template", remedy="choose a model made for chat")
    return model, tokenizer


def lora_config(params: TrainingParameters) -> Any:
    from peft import LoraConfig

    targets = list(params.targets)
    return LoraConfig(r=params.rank, lora_alpha=params.alpha, target_modules=targets, task_type="CAUSAL_LM")


def is_gguf(path: Path) -> bool:
    return path.is_file() and path.suffix != ".safetensors"


def digest_of_base(path: Path) -> str:
    """Return the sha256 of a model's file; for a folder, over the names and sha256 of its files."""
    if path.is_file():
        return digest_of_file(path)
    return digest_of({file.name: digest_of_file(file) for file in sorted(path.iterdir()) if file.is_file()})


def tokenise(examples: Sequence[Example], tokenizer: Any) -> list[dict[str, list[int]]]:
    """Return `input_ids` and `labels`: the model's own chat template, with only the answer and its end-of-turn token
    learned."""
    rows = []
    for example in examples:
        text = tokenizer.apply_chat_template(list(example.messages), add_generation_prompt=True, tokenize=False)
        prompt = tokenizer(text, add_special_tokens=False)["input_ids"]
        answer = [*tokenizer(example.target, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        rows.append({"input_ids": prompt + answer, "labels": [-100] * len(prompt) + answer})
    return rows


def _packed(path: Path) -> dict[str, Any]:
    """Return four-bit weights for QLoRA: bitsandbytes makes them, on NVIDIA GPUs only."""
    import torch

    if importlib.util.find_spec("bitsandbytes") is None or not torch.cuda.is_available():
        raise SluiceError(
            "train.method is qlora, which needs a CUDA GPU and the package bitsandbytes",
            remedy=f"set train.method to lora, or install {_QLORA} into .venv, with --require-hashes, where a GPU is",
        )
    if is_gguf(path):
        raise SluiceError(
            f"{path}: qlora packs published weights, and this is a GGUF file",
            remedy="name safetensors as `weights` of the chat model in config/models.yaml",
        )
    from transformers import BitsAndBytesConfig

    kind = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    return {"quantization_config": kind, "device_map": {"": torch.cuda.current_device()}}


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence transformers' progress bars and warnings, which would tear the one line of progress."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        logging.enable_progress_bar()


@contextlib.contextmanager
def parsed_once() -> Iterator[None]:
    """Parse GGUF metadata once in this block: transformers parses it four times, 2 to 3 s each."""
    import gguf

    before = {name: getattr(gguf, name) for name in ("GGUFReader", "get_tensor_name_map")}
    try:
        for name, slow in before.items():
            setattr(gguf, name, functools.cache(slow))
        yield
    finally:
        for name, slow in before.items():
            setattr(gguf, name, slow)
