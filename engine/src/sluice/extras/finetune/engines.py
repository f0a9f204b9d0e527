"""Computes the gradient of one step: with threads on one processor, or with one process for each device.

Both leave it in the `.grad` of float32 tensors (`masters`), which the optimiser moves, so that small steps are not lost
in bfloat16. Logits are computed at answer positions only (`logits_to_keep`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol

from sluice.core.errors import SluiceError
from sluice.extras.finetune.packing import Pack, mask
from sluice.extras.finetune.process_group import ProcessGroup
from sluice.extras.finetune.training_parameters import TrainingParameters


class Engine(Protocol):
    """`masters` are trained; `group` says which process this is."""

    masters: list[Any]
    group: ProcessGroup

    def gradients(self, batch: Sequence[Pack]) -> float:
        """Mean loss of the batch's examples over all processes; its gradient is left in `masters`."""
        ...

    def loss(self, packs: Sequence[Pack]) -> float:
        """Mean loss of the packs' examples, without a gradient."""
        ...

    def publish(self) -> None:
        """Brings the masters into the model."""
        ...


@contextmanager
def engine_for(model: Any, params: TrainingParameters, group: ProcessGroup) -> Iterator[Engine]:
    """The engine for this machine. The model is in training mode from here on."""
    if params.packs_a_step % group.world:
        raise SluiceError(
            f"{group.world} processes cannot share the {params.packs_a_step} packs of a step",
            remedy=f"make train.batch × train.accumulate a multiple of {group.world}",
        )
    model.train()
    if params.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    if group.world == 1 and group.device == "cpu":
        with ThreadEngine(model, params, group) as engine:
            yield engine
    else:
        yield ProcessEngine(model, params, group)


def pack_loss(model: Any, item: Pack, dtype: Any, device: str = "cpu") -> Any:
    """Summed loss of the examples of a pack, each example weighing one."""
    import torch

    at, expected, shares = item.labels()
    logits = model(
        input_ids=torch.tensor([item.ids], device=device),
        position_ids=torch.tensor([item.positions], device=device),
        attention_mask=mask(item, dtype).to(device),
        logits_to_keep=torch.tensor(at, device=device),
        use_cache=False,
    ).logits[0]
    losses = torch.nn.functional.cross_entropy(logits.float(), torch.tensor(expected, device=device), reduction="none")
    return (losses * torch.tensor(shares, device=device)).sum()


class ThreadEngine:
    """Packs side by side on one processor, each in a thread of its own.

    torch releases the interpreter lock, and threads within one operation would wait for each other whenever the machine
    does something else. Gradients are summed in a fixed order, so a run repeats itself bit by bit.
    """

    def __init__(self, model: Any, params: TrainingParameters, group: ProcessGroup) -> None:
        self.model, self.group = model, group
        self._weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.masters = [weight.detach().float().clone() for weight in self._weights]
        self._threads = params.threads or os.cpu_count() or 1
        self._workers = min(self._threads, params.batch)

    def __enter__(self) -> ThreadEngine:
        import torch

        share = self._threads // self._workers
        self._pool = ThreadPoolExecutor(self._workers, initializer=lambda: torch.set_num_threads(share))
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def gradients(self, batch: Sequence[Pack]) -> float:
        examples = sum(len(p.tails) for p in batch)
        longest_first = sorted(batch, key=len, reverse=True)
        total = 0.0
        for number, (loss, gradients) in enumerate(self._pool.map(self._one, longest_first)):
            total += loss
            for master, gradient in zip(self.masters, gradients, strict=True):
                share = gradient.float() / examples
                master.grad = share if number == 0 else master.grad.add_(share)
        return total / examples

    def _one(self, item: Pack) -> tuple[float, Sequence[Any]]:
        """Summed loss of one pack and its gradients. Touches nothing shared, so threads may run it at once."""
        import torch

        loss = pack_loss(self.model, item, self.model.dtype)
        return float(loss.detach()), torch.autograd.grad(loss, self._weights)

    def loss(self, packs: Sequence[Pack]) -> float:
        return sum(self._pool.map(self._without_gradient, packs)) / sum(len(p.tails) for p in packs)

    def _without_gradient(self, item: Pack) -> float:
        import torch

        with torch.no_grad():  # holds for one thread only
            return float(pack_loss(self.model, item, self.model.dtype))

    def publish(self) -> None:
        import torch

        with torch.no_grad():
            for weight, master in zip(self._weights, self.masters, strict=True):
                weight.copy_(master)


class ProcessEngine:
    """A GPU, or several processes: the packs of a step are dealt out, and gradients are averaged as they come.

    Trained weights are float32 and computed with in `dtype`. DDP: every process holds the model. FSDP: every process
    holds a shard of each layer, which is put together while it is needed.
    """

    def __init__(self, model: Any, params: TrainingParameters, group: ProcessGroup) -> None:
        import torch

        self.group = group
        self._dtype = getattr(torch, params.dtype)
        if group.device == "cpu":
            torch.set_num_threads(params.threads or max(1, (os.cpu_count() or 1) // local_processes()))
        self._sharded = group.world > 1 and params.parallel == "fsdp"
        if self._sharded and params.method == "qlora":
            raise SluiceError("packed weights cannot be sharded", remedy="set train.parallel to ddp, or method to lora")
        for parameter in model.parameters():
            if parameter.requires_grad or self._sharded:  # a shard must be of one type
                parameter.data = parameter.data.float()
        if params.method != "qlora":  # bitsandbytes has put those where they belong
            model.to(group.device)
        self._model = self._spread(model)
        self.masters = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def _spread(self, model: Any) -> Any:
        import torch

        if self.group.world == 1:
            return model
        if not self._sharded:
            ids = None if self.group.device == "cpu" else [self.group.device]
            return torch.nn.parallel.DistributedDataParallel(model, device_ids=ids)
        from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

        policy = MixedPrecisionPolicy(param_dtype=self._dtype, reduce_dtype=torch.float32)
        blocks = set(getattr(model, "_no_split_modules", None) or ())
        for module in list(model.modules()):
            if type(module).__name__ in blocks:
                fully_shard(module, mp_policy=policy)
        return fully_shard(model, mp_policy=policy)

    def gradients(self, batch: Sequence[Pack]) -> float:
        examples = sum(len(p.tails) for p in batch)
        mine = batch[self.group.rank :: self.group.world]
        for master in self.masters:
            master.grad = None
        total = 0.0
        for number, item in enumerate(mine, 1):
            with self._sent(number == len(mine)), self._computed():
                loss = pack_loss(self._model, item, self._dtype, self.group.device)
                # The processes' gradients are averaged: times their number it is the sum again.
                (loss * (self.group.world / examples)).backward()
            total += float(loss.detach())
        return self.group.sum(total) / examples

    def loss(self, packs: Sequence[Pack]) -> float:
        """Every process computes all of them: with shards, none may be ahead of the others."""
        import torch

        with torch.no_grad(), self._computed():
            total = sum(float(pack_loss(self._model, p, self._dtype, self.group.device)) for p in packs)
        return total / sum(len(p.tails) for p in packs)

    def publish(self) -> None:
        """The masters are the model's own weights."""

    def _computed(self) -> AbstractContextManager[object]:
        import torch

        if self._sharded or self._dtype == torch.float32:
            return nullcontext()
        computed: AbstractContextManager[object] = torch.autocast(self.group.device.partition(":")[0], self._dtype)
        return computed

    def _sent(self, last: bool) -> AbstractContextManager[object]:
        """Gradients travel once a step, with the last pack."""
        if self._sharded:
            self._model.set_requires_gradient_sync(last)
        elif self.group.world > 1 and not last:
            quiet: AbstractContextManager[object] = self._model.no_sync()
            return quiet
        return nullcontext()


def local_processes() -> int:
    """How many processes of the group share this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
