"""transformers' Trainer over packs: the loss of a pack, packs side by side on a processor, held-out packs, checkpoints.

A step is one item of the data set: its packs, dealt out to the processes. Logits are computed at answer positions only
(`logits_to_keep`). Trained weights are float32, and computed with in `dtype`, so that small steps are not lost.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import AutocastKwargs, DistributedType, FullyShardedDataParallelPlugin
from safetensors import safe_open
from safetensors.torch import save_file
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from transformers import Trainer

from sluice.extras.finetune.checkpoints import Checkpoints
from sluice.extras.finetune.packing import Pack, pack_loss
from sluice.extras.finetune.training_methods import put_weights, trained_weights
from sluice.extras.finetune.training_parameters import TrainingParameters

# Of a checkpoint, which has one form whatever made it: one process, DDP or FSDP, and how many there were.
_WEIGHTS, _OPTIMIZER, _SCHEDULER = "weights.safetensors", "optimizer.pt", "scheduler.pt"


@dataclass(frozen=True)
class StepShare:
    """The packs of one step that a process computes. `examples`: of the whole step, over all processes."""

    packs: Sequence[Pack]
    examples: int


def steps_of(packs: Sequence[Pack], params: TrainingParameters, world: int) -> list[StepShare]:
    """All steps of a run in order, each as the shares of `world` processes; packs are reshuffled for each epoch."""
    stream = _endless(packs, params.seed)
    steps = (list(islice(stream, params.packs_a_step)) for _ in range(params.steps))
    return [StepShare(step[rank::world], sum(len(p.tails) for p in step)) for step in steps for rank in range(world)]


def _endless(packs: Sequence[Pack], seed: int) -> Iterator[Pack]:
    rng = random.Random(seed)
    while True:
        order = list(packs)
        rng.shuffle(order)
        yield from order


def rate(step: int, params: TrainingParameters) -> float:
    """Share of the learning rate at a step (from 0): linear warm-up, then linear decay to zero. That of transformers
    begins with a step of rate zero, which learns nothing."""
    if step < params.warmup:
        return (step + 1) / (params.warmup + 1)
    return max(0.0, (params.steps - step) / max(params.steps - params.warmup, 1))


class PackTrainer(Trainer):  # type: ignore[misc]
    """`pool`: computes the packs of a step side by side, each in a thread of its own; None: one after the other.
    `spent`: seconds of the run before this process took it up."""

    control: Any
    model: Any

    def __init__(
        self, params: TrainingParameters, pool: Executor | None, checkpoints: Checkpoints, spent: float, **options: Any
    ) -> None:
        super().__init__(**options)
        self._params, self._pool, self._checkpoints = params, pool, checkpoints
        self._began = time.perf_counter() - spent
        self._dtype = getattr(torch, params.dtype)
        # Held by nothing else, for shards take the place of whole weights, which would stay.
        self._weights = [weight for weight in self.model.parameters() if weight.requires_grad] if pool else []
        # A weight is used once in a pass; threads that share a cache of its casts would share their graphs.
        self.accelerator.autocast_handler = AutocastKwargs(cache_enabled=False)

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Any:  # noqa: ARG002
        """Mean loss of the step's examples; its gradient is left in the weights."""
        model.train()
        share: StepShare = inputs["share"]
        total = self._beside(model, share) if self._pool else self._in_turn(model, share)
        return torch.tensor(total, device=self.args.device)

    def _beside(self, model: Any, share: StepShare) -> float:
        """Gradients are summed in a fixed order, so a run repeats itself bit by bit. torch releases the interpreter
        lock; threads within one operation would wait for each other when the machine does something else."""
        assert self._pool
        total = 0.0

        def one(item: Pack) -> tuple[float, Sequence[Any]]:
            loss = self._loss(model, item) / share.examples
            return float(loss.detach()), torch.autograd.grad(loss, self._weights)

        for loss, gradients in self._pool.map(one, sorted(share.packs, key=len, reverse=True)):
            total += loss
            for weight, gradient in zip(self._weights, gradients, strict=True):
                weight.grad = gradient if weight.grad is None else weight.grad.add_(gradient)
        return total

    def _in_turn(self, model: Any, share: StepShare) -> float:
        """The processes' gradients are averaged, with the last pack: times their number it is the sum again."""
        total = 0.0
        for number, item in enumerate(share.packs, 1):
            # Shards are averaged each time: what waits for the last pack would be a gradient of the whole model.
            together = number == len(share.packs) or self.is_fsdp_enabled
            with nullcontext() if together else self.accelerator.no_sync(model):
                loss = self._loss(model, item) * (self.args.world_size / share.examples)
                self.accelerator.backward(loss)
            total += float(loss.detach())
        return total

    def _loss(self, model: Any, item: Pack) -> Any:
        return pack_loss(model, item, self._dtype, str(self.args.device))

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Mean loss of the held-out examples. Every process computes all: with shards, none may be ahead."""

        def one(item: Pack) -> float:
            with torch.no_grad():  # holds for one thread only
                return float(self._loss(self.model, item))

        found = sum((self._pool.map if self._pool else map)(one, self.eval_dataset))
        metrics = {"eval_loss": round(found / sum(len(p.tails) for p in self.eval_dataset), 4)}
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:  # noqa: ARG002
        moved = optimizer or self.optimizer
        self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(moved, lambda step: rate(step, self._params))
        return self.lr_scheduler

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """With the seconds of the run so far, which its checkpoints carry on."""
        super().log({**logs, "seconds": time.perf_counter() - self._began}, start_time)

    def create_accelerator_and_postprocess(self) -> None:
        """accelerate (1.15, `AcceleratorState`) allows FSDP on GPUs alone. torch's, which it calls, shards on
        processors too, so that what trains on GPUs can be tested without one."""
        super().create_accelerator_and_postprocess()
        state = self.accelerator.state
        if self.args.fsdp and state.distributed_type == DistributedType.MULTI_CPU:
            state.fsdp_plugin = FullyShardedDataParallelPlugin(**self.args.fsdp_plugin_args)
            if state.mixed_precision != "no":
                state.fsdp_plugin.set_mixed_precision(state.mixed_precision)
            state.distributed_type = DistributedType.FSDP
            self.is_fsdp_enabled = True

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """What was trained, gathered by the process that writes it."""
        weights = trained_weights(self.model, leads=self.args.should_save)
        if self.args.should_save:
            assert output_dir
            Path(output_dir).mkdir(parents=True, exist_ok=True)
            save_file({name: value.contiguous() for name, value in weights.items()}, Path(output_dir) / _WEIGHTS)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:  # noqa: ARG002
        with safe_open(Path(resume_from_checkpoint) / _WEIGHTS, framework="pt") as file:
            put_weights(self.model, _ReadOneByOne(file))

    def _load_best_model(self) -> None:
        assert self.state.best_model_checkpoint
        self._load_from_checkpoint(self.state.best_model_checkpoint)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        whole = StateDictOptions(full_state_dict=True, cpu_offload=True)  # then the first process alone gets it
        state = get_optimizer_state_dict(self.model, self.optimizer, options=whole)
        if self.args.should_save:
            torch.save(state, Path(output_dir) / _OPTIMIZER)
            torch.save(self.lr_scheduler.state_dict(), Path(output_dir) / _SCHEDULER)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        several = self.args.world_size > 1
        state = {}
        if self.args.process_index == 0:
            state = torch.load(Path(checkpoint) / _OPTIMIZER, weights_only=True, map_location="cpu")
        whole = StateDictOptions(full_state_dict=True, broadcast_from_rank0=several)
        set_optimizer_state_dict(self.model, self.optimizer, state, options=whole)
        self.lr_scheduler.load_state_dict(torch.load(Path(checkpoint) / _SCHEDULER, weights_only=True))

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        with self._checkpoints.written(folder, leads=self.args.should_save):
            super()._save_checkpoint(model, trial)
            self.accelerator.wait_for_everyone()  # each process has a file of its own in it


class _ReadOneByOne(Mapping[str, Any]):
    """Tensors of a safetensors file by name; each is read when it is asked for."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def __getitem__(self, name: str) -> Any:
        return self._file.get_tensor(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._file.keys())

    def __len__(self) -> int:
        return len(self._file.keys())
