"""transformers' Trainer over packs: the loss of a pack, packs side by side on a processor, held-out packs, checkpoints.

A step is one item of the data set: its packs, dealt out to the processes. Logits are computed at answer positions only
(`logits_to_keep`). Trained weights are float32, and computed with in `dtype`, so that small steps are not lost.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import AutocastKwargs
from transformers import Trainer

from sluice.extras.finetune.checkpoints import Checkpoints
from sluice.extras.finetune.packing import Pack, pack_loss
from sluice.extras.finetune.training_parameters import TrainingParameters


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

    def __init__(
        self, params: TrainingParameters, pool: Executor | None, checkpoints: Checkpoints, spent: float, **options: Any
    ) -> None:
        super().__init__(**options)
        self._params, self._pool, self._checkpoints = params, pool, checkpoints
        self._began = time.perf_counter() - spent
        self._dtype = getattr(torch, params.dtype)
        self._weights = [weight for weight in self.model.parameters() if weight.requires_grad]
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
            with nullcontext() if number == len(share.packs) else self.accelerator.no_sync(model):
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

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """peft would look the base up on the network, to see whether its vocabulary has grown."""
        known = {} if self._params.method == "full" else {"save_embedding_layers": False}
        self.model.save_pretrained(output_dir, state_dict=state_dict, **known)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        with self._checkpoints.written(folder, leads=self.args.should_save):
            super()._save_checkpoint(model, trial)
