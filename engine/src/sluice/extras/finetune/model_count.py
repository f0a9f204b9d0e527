"""Counts what one training step of a model needs, without its weights.

The model is made on torch's meta device, which has shapes and no memory, out of its config.json alone. One pack goes
through it forwards and backwards, by the code that trains, while torch notes what is kept and what is multiplied.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sluice.core.errors import SluiceError
from sluice.extras.finetune import attention
from sluice.extras.finetune.base_model import quiet
from sluice.extras.finetune.packing import Pack, pack_loss
from sluice.extras.finetune.training_methods import prepare
from sluice.extras.finetune.training_parameters import TrainingParameters

_ANSWERS = 128  # tokens of a pack that are answers, where logits are computed
_FLASH = "counted"


@dataclass(frozen=True)
class ModelCount:
    """Numbers of weights; and of one pack of `tokens` the bytes that are kept for backward, and the floating-point
    operations of both passes.

    `adapter`: added to the model; `packable`: in the matrices that QLoRA keeps in four bits; `block`: in the largest
    layer; `outer`: in none of them, so embeddings, the last norm and the head; `of_layer`: bytes that one layer keeps
    while it is not recomputed.
    """

    weights: int
    adapter: int
    packable: int
    block: int
    outer: int
    tokens: int
    kept: int
    of_layer: int
    operations: int


def count_model(config: Any, params: TrainingParameters, *, gpu: bool) -> ModelCount:
    """Counts by a pass over the meta device."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    dtype = torch.float32 if params.dtype == "float32" else torch.bfloat16
    model = _on_meta(config, dtype, gpu=gpu)
    blocks = [sum(map(torch.numel, layer.parameters())) for layer in _layers(model)]
    weights, head = sum(map(torch.numel, model.parameters())), model.get_output_embeddings()
    packable = [m.weight.numel() for m in model.modules() if isinstance(m, torch.nn.Linear) and m is not head]
    # QLoRA's matrices are counted as plain ones: what they keep for backward are their inputs, which are the same.
    dense = params.model_copy(update={"method": "full" if params.method == "full" else "lora"})
    model = prepare(model, dense).train()
    tokens = min(params.max_tokens, getattr(config, "max_position_embeddings", params.max_tokens))
    answers = min(_ANSWERS, tokens // 2)
    item = Pack([0] * (tokens - answers), [[0] * answers], [answers])
    with _kept(model) as whole:
        pack_loss(model, item, dtype, "meta")
    if params.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    with FlopCounterMode(display=False) as counter:
        with _kept(model) as kept:
            loss = pack_loss(model, item, dtype, "meta")
        loss.backward()
    return ModelCount(
        weights=weights,
        adapter=sum(map(torch.numel, model.parameters())) - weights,
        packable=sum(packable),
        block=max(blocks),
        outer=weights - sum(blocks),
        tokens=tokens,
        kept=sum(kept.values()),
        of_layer=sum(whole.values()) // len(blocks),
        operations=counter.get_total_flops(),
    )


def _on_meta(config: Any, dtype: Any, *, gpu: bool) -> Any:
    import torch
    from transformers import AttentionInterface, AutoModelForCausalLM
    from transformers.masking_utils import AttentionMaskInterface, eager_mask

    attention.register()
    AttentionInterface.register(_FLASH, _flash)
    AttentionMaskInterface.register(_FLASH, eager_mask)
    how = {"dtype": dtype, "attn_implementation": _FLASH if gpu else attention.NAME}
    with quiet(), torch.device("meta"):
        try:
            return AutoModelForCausalLM.from_config(config, **how)
        except (ValueError, LookupError) as error:
            raise SluiceError(f"transformers has no causal model for this config.json: {error}") from error


def _layers(model: Any) -> list[Any]:
    """The modules that are sharded one by one, as accelerate finds them."""
    names = set(model._no_split_modules or ())
    found = [module for module in model.modules() if type(module).__name__ in names]
    if not found:
        raise SluiceError(f"{type(model).__name__} does not say what its layers are: it can be trained by ddp alone")
    return found


@contextmanager
def _kept(model: Any) -> Iterator[dict[int, int]]:
    """Bytes of what is kept for backward in the block, by storage: what several operations keep is there once."""
    import torch

    own = {weight.untyped_storage()._cdata for weight in model.parameters()}
    found: dict[int, int] = {}
    held = []  # a storage that is gone would give its address to the next one

    def keep(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            found[storage._cdata] = storage.nbytes()
            held.append(storage)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        yield found


def _flash(
    module: Any,  # noqa: ARG001
    query: Any,
    key: Any,
    value: Any,
    attention_mask: Any,  # noqa: ARG001
    **_: Any,
) -> tuple[Any, None]:
    """The shapes of attention by blocks, which keeps its inputs and its result. transformers copies keys and values for
    each head that shares them where there is a mask."""
    shared = query.shape[1] // key.shape[1]
    whole = (query, *(one.repeat_interleave(shared, dim=1) for one in (key, value)))
    return _flash_function().apply(*whole).transpose(1, 2).contiguous(), None


def _flash_function() -> Any:
    import torch

    class Flash(torch.autograd.Function):  # type: ignore[misc]  # torch is not typed
        @staticmethod
        def forward(ctx: Any, query: Any, key: Any, value: Any) -> Any:
            out = torch.empty_like(query)
            ctx.save_for_backward(query, key, value, out)
            return out

        @staticmethod
        def backward(ctx: Any, *_: Any) -> Any:
            return tuple(map(torch.empty_like, ctx.saved_tensors[:3]))

    return Flash
