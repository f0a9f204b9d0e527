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


def trained_weights(model: Any, *, leads: bool = True) -> dict[str, Any]:
    """The trained weights by name, whole and on the CPU."""
    found = {}
    for name, value in _trained(model).items():
        whole = value.full_tensor() if hasattr(value, "full_tensor") else value
        if leads:
            found[name] = whole.detach().cpu()
    return found


def put_weights(model: Any, weights: Mapping[str, Any]) -> None:
    """Brings trained weights, whole ones, into a model that was prepared in the same way, and be it in shards."""
    import torch
    from torch.distributed.tensor import DTensor, distribute_tensor

    with torch.no_grad():
        for name, into in _trained(model).items():
            value = weights[name]
            if isinstance(into, DTensor):  # from None: each process takes its shard of what it has itself
                value = distribute_tensor(value.to(into.device), into.device_mesh, into.placements, src_data_rank=None)
            into.copy_(value)


def _trained(model: Any) -> dict[str, Any]:
    """By the names of the model as it was before accelerate wrapped its layers to recompute them."""
    named = ((name.replace("_checkpoint_wrapped_module.", ""), value) for name, value in model.named_parameters())
    return {name: value for name, value in named if value.requires_grad}
