"""Trains the tiny model in a process that may be told to die, forked off one that has already imported torch."""

import functools
import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sluice.core.errors import SluiceError
from unit.extras.finetune.tiny import trained

_HEAVY = [
    "transformers.models.llama.modeling_llama",
    "sluice.extras.finetune.sft_trainer",
    "sluice.extras.finetune.train_stage",
    "unit.extras.finetune.process",
]
_SECONDS = 600  # for one that hangs


@dataclass(frozen=True)
class Ended:
    code: int | None
    output: str


class Training:
    """Trains in `folder`. `death` is `kill:STEP` or `kill:export` by itself, or `end:STEP` by a signal."""

    def __init__(
        self,
        folder: Path,
        death: str = "",
        *,
        env: Mapping[str, str] | None = None,
        **changes: Any,
    ) -> None:
        rank = (env or {}).get("RANK", "0")
        self._log = folder / f"log-{rank}"
        self.process = _context().Process(
            target=_begin, args=(changes, str(folder), death, dict(env or {}), str(self._log)), daemon=True
        )
        self.process.start()

    def end(self) -> Ended:
        self.process.join(_SECONDS)
        if self.process.is_alive():
            self.process.kill()
            raise AssertionError(f"it has not ended after {_SECONDS} s: {self._log.read_text()}")
        return Ended(self.process.exitcode, self._log.read_text())


@functools.cache
def _context() -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_HEAVY)
    return context


def _begin(changes: dict[str, Any], folder: str, death: str, env: dict[str, str], log: str) -> None:
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.environ.update(env, OMP_NUM_THREADS="1")
    from sluice.extras.finetune import exports

    if changes.get("parallel") == "fsdp":
        _shard_on_processors()
    if death == "kill:export":
        exports.EXPORTS["peft"] = lambda *_: die()
    elif death.startswith("kill:") and env.get("RANK", "0") != "0":
        _die_at_step(int(death.removeprefix("kill:")))
    _train(Path(folder), death, changes)


def _shard_on_processors() -> None:
    """accelerate (1.15, `AcceleratorState`) allows FSDP on GPUs alone. torch's, which it calls, shards on processors
    too, so that what trains on GPUs is tested without one."""
    from accelerate import PartialState
    from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin

    from sluice.extras.finetune.sft_trainer import AnswerTrainer

    def create(self: Any) -> None:
        super(AnswerTrainer, self).create_accelerator_and_postprocess()
        state = self.accelerator.state
        if self.args.fsdp and state.distributed_type == DistributedType.MULTI_CPU:
            state.fsdp_plugin = FullyShardedDataParallelPlugin(**self.args.fsdp_plugin_args)
            if state.mixed_precision != "no":
                state.fsdp_plugin.set_mixed_precision(state.mixed_precision)
            # As accelerate does: of PartialState each later AcceleratorState() takes it.
            state.distributed_type = PartialState._shared_state["distributed_type"] = DistributedType.FSDP
            self.is_fsdp_enabled = True

    AnswerTrainer.create_accelerator_and_postprocess = create  # type: ignore[method-assign]


def _train(here: Path, death: str, changes: dict[str, Any]) -> None:
    try:
        trained(here, on_progress=lambda step, steps, _: _stepped(step, steps, death), **changes)
    except SluiceError as error:
        print(error, file=sys.stderr, flush=True)
        sys.exit(error.exit_code)


def _stepped(step: int, steps: int, death: str) -> None:
    print(f"step {step} of {steps}", flush=True)
    if death == f"kill:{step}":
        die()
    if death == f"end:{step}":
        os.kill(os.getpid(), signal.SIGTERM)


def _die_at_step(step: int) -> None:
    """Count the trainer's own steps: only the first process reports its steps."""
    from sluice.extras.finetune.sft_trainer import AnswerTrainer

    steps = iter(range(1, step))
    real = AnswerTrainer.training_step

    def training_step(self: Any, *words: Any, **more: Any) -> Any:
        return real(self, *words, **more) if next(steps, None) else die()

    AnswerTrainer.training_step = training_step  # type: ignore[method-assign]


def die() -> Any:
    os.kill(os.getpid(), signal.SIGKILL)
