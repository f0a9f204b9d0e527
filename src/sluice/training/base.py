"""The model to adapt, out of the GGUF file that is served, and its tokenizer."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sluice.core.errors import SluiceError
from sluice.training.dataset import Example
from sluice.training.export import BaseShape, read_shape
from sluice.training.packing import Tokens
from sluice.training.parameters import TrainingParameters


def require_training_packages() -> None:
    """SluiceError when torch, transformers or peft is not installed: the serving set has none of them."""
    import importlib.util

    missing = [name for name in ("torch", "transformers", "peft", "gguf") if importlib.util.find_spec(name) is None]
    if missing:
        raise SluiceError(
            f"training needs {', '.join(missing)}, which is not installed here", remedy="run `make setup`"
        )


def load_base(path: Path, params: TrainingParameters) -> tuple[Any, Any, BaseShape]:
    """(model, tokenizer, shape) of any causal model in a GGUF file that transformers reads, in `params.dtype`."""
    if not path.is_file():
        raise SluiceError(f"{path}: the base model is missing", remedy="fetch it with `sluice models pull`")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with _quiet(), _parsed_once():
        try:
            shape = read_shape(path)
            tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
            model = AutoModelForCausalLM.from_pretrained(
                path.parent,
                gguf_file=path.name,
                dtype=getattr(torch, params.dtype),
                attn_implementation=params.attention,
                **_dense(),
            )
        except (OSError, ValueError, LookupError, NotImplementedError) as error:
            raise SluiceError(f"{path}: transformers cannot read this model: {error}") from error
    return model, tokenizer, shape


def _dense() -> dict[str, Any]:
    """Newer transformers can keep GGUF blocks packed; training wants plain weights from every version."""
    try:
        from transformers import GgufConfig
    except ImportError:
        return {}
    return {"quantization_config": GgufConfig(dequantize=True)}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
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
def _parsed_once() -> Iterator[None]:
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


def tokenise(examples: Sequence[Example], tokenizer: Any) -> list[Tokens]:
    """Prompts in the model's own chat template, answers closed by its end-of-turn token."""
    end = tokenizer.eos_token_id
    rows = []
    for example in examples:
        prompt = tokenizer.apply_chat_template(list(example.messages), add_generation_prompt=True, tokenize=False)
        rows.append(
            Tokens(
                tokenizer(prompt, add_special_tokens=False)["input_ids"],
                [*tokenizer(example.target, add_special_tokens=False)["input_ids"], end],
            )
        )
    return rows
