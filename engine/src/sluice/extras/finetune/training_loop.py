"""The training loop: steps, learning rate, evaluation on held-out rows, checkpoints, resuming.

A step is a function of the state before it and of its number, and the state is what a checkpoint holds: so a run that
was killed and went on ends with the same weights, bit by bit, as one that was not.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any

from sluice.core.errors import SluiceError
from sluice.extras.finetune.allocator import give_back
from sluice.extras.finetune.checkpoints import Checkpoints
from sluice.extras.finetune.engines import Engine
from sluice.extras.finetune.packing import Pack
from sluice.extras.finetune.process_group import fill, like, whole
from sluice.extras.finetune.training_parameters import TrainingParameters

Progress = Callable[[int, int, float], None]

_GIVE_BACK_EVERY = 4  # steps; the pages that come back for the next one cost time


class UntrainableError(SluiceError):
    """Nothing can be learned with these parameters on this machine; with others it may."""


@dataclass
class TrainingRun:
    """What the loop did. `loss`, `held_loss`: (step, mean loss of examples); `tokens` were computed, `plain_tokens` are
    what the same examples count one by one; `resumed`: steps after which the run was taken up again."""

    steps: int = 0
    seconds: float = 0.0
    tokens: int = 0
    plain_tokens: int = 0
    answers: int = 0
    loss: list[tuple[int, float]] = field(default_factory=list)
    held_loss: list[tuple[int, float]] = field(default_factory=list)
    resumed: list[int] = field(default_factory=list)
    stopped: bool = False

    @property
    def best(self) -> tuple[int, float]:
        """The step with the lowest loss on held rows."""
        return min(self.held_loss, key=lambda point: point[1])


def fit(
    engine: Engine,
    packs: Sequence[Pack],
    params: TrainingParameters,
    on_progress: Progress,
    *,
    held: Sequence[Pack] = (),
    checkpoints: Checkpoints | None = None,
) -> TrainingRun:
    """`params.steps` optimiser steps over the packs, reshuffled for each epoch; fewer when `held` gets no better.

    With `held`, the weights with the lowest loss on it are what remains. SluiceError when the loss is no number.
    """
    loop = _TrainingState(engine, params, held, checkpoints)
    run = loop.resume()
    stream = islice(_endless(packs, params.seed), run.steps * params.packs_a_step, None)
    while run.steps < params.steps and not run.stopped:
        on_progress(run.steps + 1, params.steps, loop.step([next(stream) for _ in range(params.packs_a_step)]))
    loop.finish()
    return run


def rate(step: int, params: TrainingParameters) -> float:
    """Share of the learning rate at a step (from 0): linear warm-up, then linear decay to zero."""
    if step < params.warmup:
        return (step + 1) / (params.warmup + 1)
    return max(0.0, (params.steps - step) / max(params.steps - params.warmup, 1))


def _endless(packs: Sequence[Pack], seed: int) -> Iterator[Pack]:
    rng = random.Random(seed)
    while True:
        order = list(packs)
        rng.shuffle(order)
        yield from order


class _TrainingState:
    """State of a run between two steps."""

    def __init__(
        self, engine: Engine, params: TrainingParameters, held: Sequence[Pack], checkpoints: Checkpoints | None
    ) -> None:
        import torch

        self._engine, self._params, self._held, self._checkpoints = engine, params, held, checkpoints
        self._optimiser = torch.optim.AdamW(engine.masters, lr=params.learning_rate, weight_decay=params.weight_decay)
        self._run = TrainingRun()
        self._best: list[Any] = []  # weights at the lowest loss on held rows
        self._began = time.perf_counter()

    def step(self, batch: Sequence[Pack]) -> float:
        """One optimiser step, and what is due after it. Returns its loss."""
        import torch

        run, params = self._run, self._params
        for group in self._optimiser.param_groups:
            group["lr"] = params.learning_rate * rate(run.steps, params)
        loss = self._engine.gradients(batch)
        if not math.isfinite(loss):
            raise UntrainableError(
                f"step {run.steps + 1} of {params.steps}: the loss is {loss}",
                remedy="lower train.learning_rate, or set train.dtype to float32",
            )
        torch.nn.utils.clip_grad_norm_(self._engine.masters, params.clip)
        self._optimiser.step()
        self._engine.publish()
        run.steps += 1
        run.tokens += sum(map(len, batch))
        run.plain_tokens += sum(p.plain_tokens for p in batch)
        run.answers += sum(len(p.tails) for p in batch)
        run.loss.append((run.steps, round(loss, 4)))
        if run.steps % _GIVE_BACK_EVERY == 0:
            give_back()
        last = run.steps == params.steps
        if self._held and (last or run.steps % params.evaluate_every == 0):
            self._evaluate()
        if last or run.stopped or run.steps % params.checkpoint_every == 0:
            self._save()
        return loss

    def _evaluate(self) -> None:
        run = self._run
        run.held_loss.append((run.steps, round(self._engine.loss(self._held), 4)))
        if run.best[0] == run.steps:
            self._best = [whole(master).clone() for master in self._engine.masters]
        since = sum(step > run.best[0] for step, _ in run.held_loss)
        run.stopped = since >= self._params.patience

    def finish(self) -> None:
        """Leaves the best weights in the model, where some are known to be best."""
        self._run.seconds += time.perf_counter() - self._began
        if self._best:
            self._set(self._best)

    def _set(self, weights: Sequence[Any]) -> None:
        import torch

        with torch.no_grad():
            for master, weight in zip(self._engine.masters, weights, strict=True):
                fill(master, weight)
        self._engine.publish()

    def _save(self) -> None:
        if self._checkpoints is None:
            return
        import torch

        now = time.perf_counter()
        self._run.seconds += now - self._began
        self._began = now
        moments = self._optimiser.state_dict()["state"]
        state = {
            "run": asdict(self._run),
            "weights": [whole(master) for master in self._engine.masters],
            "best": self._best,
            "optimiser": {n: {name: whole(value) for name, value in each.items()} for n, each in moments.items()},
            "random": torch.get_rng_state(),
        }
        if self._engine.group.leads:
            self._checkpoints.save(self._run.steps, state)

    def resume(self) -> TrainingRun:
        """Takes up the newest whole checkpoint, where there is one."""
        import torch

        group = self._engine.group
        state = group.agreed(self._checkpoints.latest() if self._checkpoints and group.leads else None)
        if state is None:
            return self._run
        self._run = TrainingRun(**state["run"])
        self._run.resumed.append(self._run.steps)
        self._set(state["weights"])
        self._best = state["best"]
        moments = {
            n: {name: like(self._engine.masters[n], value) for name, value in each.items()}
            for n, each in state["optimiser"].items()
        }
        self._optimiser.load_state_dict({**self._optimiser.state_dict(), "state": moments})
        torch.set_rng_state(state["random"])
        self._began = time.perf_counter()
        return self._run
