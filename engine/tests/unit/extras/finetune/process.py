"""Training of the tiny model in a process of its own, by the trainer or by `sluice train`, which may be told to die.

The processes are forked off one that has imported torch and its like already (multiprocessing's forkserver), so that
each takes a second in place of ten.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sluice.core.errors import SluiceError
from unit.extras.finetune.tiny import EXAMPLES, PARAMS

_HEAVY = [
    "torch",
    "transformers.trainer",
    "transformers.models.llama.modeling_llama",
    "peft",
    "trl",
    "gguf",
    "sluice.cli",
    "unit.extras.finetune.process",
]
_SECONDS = 600  # for one that hangs


@dataclass(frozen=True)
class Ended:
    code: int | None
    output: str


class Training:
    """A process that trains the model in `folder`. `death`: `kill:STEP` or `kill:export`, where it ends itself;
    `end:STEP`, where it is told to; `weigh`: it lives, and prints how much memory loading and training took.
    `words`: of the command line, which is then run in `folder`."""

    def __init__(
        self,
        folder: Path,
        death: str = "",
        *,
        env: Mapping[str, str] | None = None,
        words: Sequence[str] = (),
        **changes: Any,
    ) -> None:
        rank = (env or {}).get("RANK", "0")
        self._log = folder / f"log-{rank}"
        work = (_sluice, tuple(words)) if words else (_train, changes)
        self.process = _context().Process(
            target=_begin, args=(*work, str(folder), death, dict(env or {}), str(self._log)), daemon=True
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


def _begin(work: Any, how: Any, folder: str, death: str, env: dict[str, str], log: str) -> None:
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.environ.update(env, OMP_NUM_THREADS="1")
    from sluice.extras.finetune import exports

    if death == "kill:export":
        exports.EXPORTS["peft"] = lambda *_: die()
    elif death.startswith("kill:") and env.get("RANK", "0") != "0":
        _die_at_step(int(death.removeprefix("kill:")))
    work(Path(folder), death, how)


def _train(here: Path, death: str, changes: dict[str, Any]) -> None:
    from sluice.extras.finetune.train_stage import TrainingPaths, train
    from sluice.extras.finetune.training_parameters import TrainingParameters

    paths = TrainingPaths(here / "base", here / "base", here / "out", here / "checkpoints")
    if death == "weigh":
        _weigh()
    try:
        params = TrainingParameters.model_validate(PARAMS.model_dump() | changes)
        train(paths, EXAMPLES, params, lambda step, steps, _: _stepped(step, steps, death))
    except SluiceError as error:
        print(error, file=sys.stderr, flush=True)
        sys.exit(error.exit_code)


def _weigh() -> None:
    """Before the first checkpoint, for which the first process gathers everything in the memory of its machine. Where
    it trains on a GPU it is the memory of that."""
    import torch._dynamo  # with the rest, what FSDP imports: code is no memory of a model
    import torch.distributed.fsdp
    import torch.distributed.tensor
    from accelerate.utils import fsdp_utils  # noqa: F401

    from sluice.extras.finetune.sft_trainer import AnswerTrainer

    def resident(name: str) -> int:
        lines = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
        return int(lines[name].split()[0]) << 10

    before, save = resident("VmRSS"), AnswerTrainer._save_checkpoint
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew

    def weighed(trainer: Any, *words: Any) -> None:
        on_gpu = trainer.args.device.type == "cuda"
        peak = torch.cuda.max_memory_allocated() if on_gpu else resident("VmHWM") - before
        print(f"peak {peak}", flush=True)
        save(trainer, *words)

    AnswerTrainer._save_checkpoint = weighed  # type: ignore[method-assign]


def _sluice(here: Path, death: str, words: tuple[str, ...]) -> None:
    from sluice import cli
    from sluice.core.progress import StageReporter

    # Every step is told, where the reporter itself shows no more than one in two seconds.
    StageReporter.report = lambda _, step, steps, *__: _stepped(step, steps, death)  # type: ignore[method-assign]
    os.chdir(here)
    sys.argv = ["sluice", *words]
    sys.exit(cli.main())


def _stepped(step: float, steps: float, death: str) -> None:
    print(f"step {step:.0f} of {steps:.0f}", flush=True)
    if death == f"kill:{step:.0f}":
        die()
    if death == f"end:{step:.0f}":
        os.kill(os.getpid(), signal.SIGTERM)


def _die_at_step(step: int) -> None:
    """Only the first process reports its steps; another one counts those of its trainer."""
    from sluice.extras.finetune.sft_trainer import AnswerTrainer

    steps = iter(range(1, step))
    real = AnswerTrainer.training_step

    def training_step(self: Any, *words: Any, **more: Any) -> Any:
        return real(self, *words, **more) if next(steps, None) else die()

    AnswerTrainer.training_step = training_step  # type: ignore[method-assign]


def die() -> Any:
    os.kill(os.getpid(), signal.SIGKILL)
