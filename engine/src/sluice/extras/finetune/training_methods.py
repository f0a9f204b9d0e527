"""Training methods: a LoRA adapter, LoRA over 4-bit weights (QLoRA), or all weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sluice.core.errors import SluiceError
from sluice.extras.finetune.training_parameters import TrainingParameters


def prepare(model: Any, params: TrainingParameters) -> Any:
    """The model with exactly those weights trainable that `params.method` trains."""
    if params.method == "full":
        return model.requires_grad_(True)
    if params.method == "qlora":
        from peft import prepare_model_for_kbit_training

        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    return add_adapter(model, params)


def add_adapter(model: Any, params: TrainingParameters) -> Any:
    """The model with a LoRA adapter; with `layers`, only on the upper ones, so that backward stops there."""
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(params.seed)
    blocks = model.config.num_hidden_layers
    if params.layers > blocks:
        raise SluiceError(f"train.layers is {params.layers}, but the model has only {blocks}")
    upper = list(range(blocks - params.layers, blocks)) if params.layers else None
    config = LoraConfig(
        r=params.rank,
        lora_alpha=params.alpha,
        target_modules=list(params.targets),
        layers_to_transform=upper,
        task_type="CAUSAL_LM",
    )
    try:
        return get_peft_model(model, config, autocast_adapter_dtype=False)
    except ValueError as error:
        raise SluiceError(f"train.targets: {error}") from error


def trained_weights(model: Any) -> dict[str, Any]:
    """The trained weights by name, whole and on the CPU; all processes of a group must ask."""
    return {name: _whole(value) for name, value in model.named_parameters() if value.requires_grad}


def _whole(tensor: Any) -> Any:
    """Put together from its shards where it is sharded."""
    full = getattr(tensor, "full_tensor", None)
    return (full() if full else tensor).detach().cpu()


def put_weights(model: Any, weights: Mapping[str, Any]) -> None:
    """Brings trained weights into a model that was prepared in the same way."""
    import torch

    known = dict(model.named_parameters())
    with torch.no_grad():
        for name, value in weights.items():
            known[name].copy_(value)
