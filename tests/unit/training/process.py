"""Training of the tiny model in a process of its own, which may be told to die.

The processes are forked off one that has imported torch and its like already (multiprocessing's forkserver), so that
each takes a second in place of ten.
"""

from __future__ import annotations

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
from unit.training.tiny import EXAMPLES, PARAMS

_HEAVY = [
    "torch",
    "torch.distributed.fsdp",
    "transformers.models.llama.modeling_llama",
    "peft",
    "gguf",
    "unit.training.process",
]
_SECONDS = 120


@dataclass(frozen=True)
class Ended:
    code: int | None
    output: str


class Training:
    """A process that trains the model in `folder`. `death`: `kill:STEP` or `kill:export`, where it ends itself."""

    def __init__(self, folder: Path, death: str = "", *, env: Mapping[str, str] | None = None, **changes: Any) -> None:
        rank = (env or {}).get("RANK", "0")
        self._log = folder / f"log-{rank}"
        self.process = _context().Process(
            target=_train, args=(str(folder), death, dict(env or {}), changes, str(self._log)), daemon=True
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


def _train(folder: str, death: str, env: dict[str, str], changes: dict[str, Any], log: str) -> None:
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.environ.update(env, OMP_NUM_THREADS="1")
    from sluice.training import exports
    from sluice.training.parameters import TrainingParameters
    from sluice.training.trainer import Places, train

    if death == "kill:export":
        exports.EXPORTS["peft"] = lambda *_: die()
    here = Path(folder)

    if death.startswith("kill:") and env.get("RANK", "0") != "0":
        _die_at_step(int(death.removeprefix("kill:")))

    def progress(step: int, steps: int, loss: float) -> None:
        print(f"step {step} of {steps}: {loss:.4f}", flush=True)
        if death == f"kill:{step}":
            die()

    try:
        params = TrainingParameters.model_validate(PARAMS.model_dump() | changes)
        train(Places(here / "base", here / "base", here / "out", here / "checkpoints"), EXAMPLES, params, progress)
    except SluiceError as error:
        print(error, file=sys.stderr, flush=True)
        sys.exit(error.exit_code)


def _die_at_step(step: int) -> None:
    """Only the first process reports its steps; another one counts those of its engine."""
    from sluice.training.engines import ProcessEngine

    steps = iter(range(1, step))
    real = ProcessEngine.gradients

    def gradients(self: Any, batch: Any) -> float:
        return real(self, batch) if next(steps, None) else die()

    ProcessEngine.gradients = gradients  # type: ignore[method-assign]


def die() -> Any:
    os.kill(os.getpid(), signal.SIGKILL)
