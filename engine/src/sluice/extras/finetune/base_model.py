"""Loads the base model and its tokenizer from a GGUF file or a Hugging Face folder of safetensors."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from sluice.core.digests import digest_of, digest_of_file
from sluice.core.errors import SluiceError
from sluice.core.training_packages import install_training_packages
from sluice.extras.finetune import attention
from sluice.extras.finetune.dataset import Example
from sluice.extras.finetune.dtype import computed_dtype
from sluice.extras.finetune.packing import TokenizedExample
from sluice.extras.finetune.process_group import ProcessGroup
from sluice.extras.finetune.training_parameters import TrainingParameters

_QLORA = "engine/src/sluice/extras/finetune/requirements/qlora.txt"


def require_training_packages() -> None:
    """Install torch, transformers, accelerate and peft where one is missing; SluiceError where that cannot be done."""
    needed = ("torch", "transformers", "accelerate", "peft", "gguf")
    if any(importlib.util.find_spec(name) is None for name in needed):
        install_training_packages("train")


def load_base(path: Path, params: TrainingParameters, group: ProcessGroup | None = None) -> tuple[Any, Any]:
    """(model, tokenizer) of any causal model that transformers reads, in `params.dtype`."""
    if not path.exists():
        raise SluiceError(f"{path}: the base model is missing", remedy="fetch it with `sluice models pull`")
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    attention.register()
    folder = path if path.is_dir() else path.parent
    file = {"gguf_file": path.name} if is_gguf(path) else {}
    options = _packed(path) if params.method == "qlora" else _dense() if file else {}
    sharded = group is not None and params.sharded(group.world)
    dtype = computed_dtype(params.dtype, group.device if group else "cpu")
    how = {
        # Shards of weights that are trained are float32: cast here, before the others' would be written to.
        "dtype": torch.float32 if sharded and params.method == "full" else getattr(torch, dtype),
        "attn_implementation": _attention(params, group),
    }
    with quiet(), parsed_once():
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, **file, local_files_only=True)
            if sharded and group and not group.leads:
                config = AutoConfig.from_pretrained(folder, **file, local_files_only=True)
                model = _unwritten(lambda: AutoModelForCausalLM.from_config(config, **how))
            else:
                model = AutoModelForCausalLM.from_pretrained(
                    folder,
                    **file,
                    **options,
                    **how,
                    local_files_only=True,  # what it needs was fetched and checked before
                )
        except (OSError, ValueError, LookupError, NotImplementedError) as error:
            raise SluiceError(f"{path}: transformers cannot read this model: {error}") from error
    if tokenizer.chat_template is None:
        raise SluiceError(f"{path}: its tokenizer has no chat template", remedy="choose a model made for chat")
    return model, tokenizer


def _attention(params: TrainingParameters, group: ProcessGroup | None) -> str:
    if params.attention != "auto":
        return params.attention
    return attention.NAME if group is None or group.device == "cpu" else "sdpa"


def _unwritten(make: Callable[[], Any]) -> Any:
    """The model that `make` makes, its buffers as they are, its weights memory that the system gives when it is used:
    accelerate tells weights apart by where they lie, and those of the meta device lie nowhere."""
    import torch
    from accelerate import init_empty_weights

    with init_empty_weights(include_buffers=False):
        model = make()
    for module in model.modules():
        for name, weight in module.named_parameters(recurse=False):
            module.register_parameter(name, torch.nn.Parameter(torch.empty_like(weight, device="cpu")))
    model.tie_weights()
    return model


def is_gguf(path: Path) -> bool:
    """Whether this is one GGUF file. Everything else is read as safetensors."""
    return path.is_file() and path.suffix != ".safetensors"


def digest_of_base(path: Path) -> str:
    """sha256 of a model's file; of a folder, over the names and sha256 of its files."""
    if path.is_file():
        return digest_of_file(path)
    return digest_of({file.name: digest_of_file(file) for file in sorted(path.iterdir()) if file.is_file()})


def _packed(path: Path) -> dict[str, Any]:
    """Weights in four bits, for QLoRA: bitsandbytes does it, on NVIDIA GPUs only."""
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


def _dense() -> dict[str, Any]:
    """Newer transformers can keep GGUF blocks packed; training wants plain weights from every version."""
    try:
        from transformers import GgufConfig
    except ImportError:
        return {}
    return {"quantization_config": GgufConfig(dequantize=True)}


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the progress bars and warnings of transformers, which would tear the one line of progress."""
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
    """transformers parses the metadata of a GGUF file four times, 2 to 3 s each; in this block gguf does it once."""
    import gguf

    before = {name: getattr(gguf, name) for name in ("GGUFReader", "get_tensor_name_map")}
    try:
        for name, slow in before.items():
            setattr(gguf, name, functools.cache(slow))
        yield
    finally:
        for name, slow in before.items():
            setattr(gguf, name, slow)


def tokenise(examples: Sequence[Example], tokenizer: Any) -> list[TokenizedExample]:
    """Prompts in the model's own chat template, answers closed by its end-of-turn token."""
    end = tokenizer.eos_token_id
    rows = []
    for example in examples:
        prompt = tokenizer.apply_chat_template(list(example.messages), add_generation_prompt=True, tokenize=False)
        rows.append(
            TokenizedExample(
                tokenizer(prompt, add_special_tokens=False)["input_ids"],
                [*tokenizer(example.target, add_special_tokens=False)["input_ids"], end],
            )
        )
    return rows
