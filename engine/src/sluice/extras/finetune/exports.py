"""Exports the trained model, one function for each format (`EXPORTS`). An export is loaded and tested before it gets
its final name.

gguf     adapter.gguf, what llama.cpp serves beside the base; llama.cpp loads it and answers
peft     peft/, an adapter for transformers, vLLM and others; loaded onto the base again, it answers
merged   merged/, a whole model as safetensors with its tokenizer; loaded from there alone, it answers
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sluice.core.errors import SluiceError
from sluice.extras.finetune.base_model import load_base
from sluice.extras.finetune.gguf_adapter import BaseModelShape, write_adapter
from sluice.extras.finetune.packing import Pack, pack_loss
from sluice.extras.finetune.training_methods import prepare, put_weights
from sluice.extras.finetune.training_parameters import ExportKind, TrainingParameters
from sluice.llm.llama_server import probe

_TOLERANCE = 0.05  # of the loss, and absolute: merged weights are rounded anew


@dataclass(frozen=True)
class TrainingOutput:
    """What there is to write. `base` was trained; `served` is the GGUF file that an adapter is served with, of `shape`;
    `weights` were trained; `sample` is a pack that an export must find as likely as the trained model does."""

    base: Path
    served: Path
    shape: BaseModelShape | None
    params: TrainingParameters
    weights: Mapping[str, Any]
    sample: Pack


def export(kind: ExportKind, trained: TrainingOutput, folder: Path) -> tuple[Path, str]:
    """Writes one form into `folder`. Returns its file or folder and what it answered; SluiceError when it does not."""
    return EXPORTS[kind](trained, folder)


def _gguf(trained: TrainingOutput, folder: Path) -> tuple[Path, str]:
    out = folder / "adapter.gguf"
    if trained.shape is None:
        raise SluiceError(f"{trained.served}: no GGUF file to write an adapter for")
    state = {name: value.float().numpy() for name, value in trained.weights.items()}
    write_adapter(state, out, trained.shape, alpha=trained.params.alpha)
    probe(trained.served, out)
    return out, "llama.cpp answers with it"


def _peft(trained: TrainingOutput, folder: Path) -> tuple[Path, str]:
    from peft import PeftModel

    out = folder / "peft"
    model, _ = _rebuilt(trained)
    expected = _loss(model, trained)
    config = model.peft_config["default"]
    config.target_modules = sorted(config.target_modules)  # a set, in another order in each process
    config.base_model_name_or_path = trained.base.name  # a path of this machine must not be published
    model.save_pretrained(out, save_embedding_layers=False)  # else peft looks the base up on the network
    base, tokenizer = load_base(trained.base, trained.params)
    return out, _tried(PeftModel.from_pretrained(base, out), tokenizer, trained, expected, out)


def _merged(trained: TrainingOutput, folder: Path) -> tuple[Path, str]:
    out = folder / "merged"
    model, tokenizer = _rebuilt(trained)
    expected = _loss(model, trained)
    whole = model if trained.params.method == "full" else model.merge_and_unload()
    whole.save_pretrained(out)
    tokenizer.save_pretrained(out)
    return out, _tried(*load_base(out, trained.params), trained, expected, out)


EXPORTS: dict[ExportKind, Callable[[TrainingOutput, Path], tuple[Path, str]]] = {
    "gguf": _gguf,
    "peft": _peft,
    "merged": _merged,
}


def _rebuilt(trained: TrainingOutput) -> tuple[Any, Any]:
    """The trained model anew, whole and in this process, however it was spread while it was trained."""
    base, tokenizer = load_base(trained.base, trained.params)
    model = prepare(base, trained.params)
    put_weights(model, trained.weights)
    return model.eval(), tokenizer


def _loss(model: Any, trained: TrainingOutput) -> float:
    import torch

    with torch.no_grad():  # packed weights are on a GPU, and stay there
        return float(pack_loss(model, trained.sample, model.dtype, str(model.device))) / len(trained.sample.tails)


def _tried(model: Any, tokenizer: Any, trained: TrainingOutput, expected: float, out: Path) -> str:
    """The export's answer to the sample's first question. SluiceError when it is another model than was trained."""
    import torch

    found = _loss(model.eval(), trained)
    if not abs(found - expected) <= _TOLERANCE * (1 + expected):
        raise SluiceError(
            f"{out.name}: the export does not answer as the trained model does: loss {found:.3f} and {expected:.3f}",
            remedy="set train.dtype to float32, if rounding is the reason",
        )
    tail, answer = trained.sample.tails[0], trained.sample.answers[0]
    prompt = torch.tensor([trained.sample.prefix + tail[:-answer]], device=model.device)
    said = model.generate(input_ids=prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=16, do_sample=False)
    return str(tokenizer.decode(said[0, prompt.shape[1] :], skip_special_tokens=True)).strip()
