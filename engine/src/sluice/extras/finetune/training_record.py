"""The record of a training run: training.json, and loss.csv for plots."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sluice.core.atomic_files import write_atomic, write_json
from sluice.core.digests import digest_of
from sluice.extras.finetune.dataset import Example
from sluice.extras.finetune.training_parameters import TrainingParameters
from sluice.release.mlflow_registry import TRAINING

_LIBRARIES = ("torch", "transformers", "peft", "accelerate")


@dataclass(frozen=True)
class TrainingRun:
    """What was trained. `loss`, `held_loss`: (step, mean loss of examples); `tokens` were computed, `plain_tokens` are
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


@dataclass(frozen=True)
class TrainingResult:
    """`run.seconds` is the loop alone; `skipped` examples were longer than the context; `exports`: form -> where."""

    run: TrainingRun
    samples: int
    held: int
    skipped: int
    exports: dict[str, Path] = field(default_factory=dict)

    @property
    def tokens_per_second(self) -> float:
        """Tokens that were computed."""
        return self.run.tokens / self.run.seconds if self.run.seconds else 0.0

    @property
    def effective_tokens_per_second(self) -> float:
        """Tokens of all examples that were learned from, counted one by one as a plain loop would compute them."""
        return self.run.plain_tokens / self.run.seconds if self.run.seconds else 0.0


def write_records(
    result: TrainingResult,
    base_sha256: str,
    examples: Sequence[Example],
    params: TrainingParameters,
    *,
    answers: Mapping[str, str],
    rows: Mapping[str, str],
    hardware: Mapping[str, Any],
    out: Path,
) -> None:
    """`answers`: form of export -> what it answered when it was tried; `rows`: id -> digest of the data's rows."""
    run = result.run
    record = {
        "base_sha256": base_sha256,
        "data_digest": digest_of([[list(e.messages), e.target] for e in examples]),
        "parameters": params.model_dump(mode="json"),
        "seconds": round(run.seconds, 1),
        "tokens_per_second": round(result.tokens_per_second, 1),
        "effective_tokens_per_second": round(result.effective_tokens_per_second, 1),
        "tokens": run.tokens,
        "answers": run.answers,
        "loss": [list(point) for point in run.loss],
        "held_loss": [list(point) for point in run.held_loss],
        "steps": run.steps,
        "resumed": run.resumed,
        "samples": result.samples,
        "held": result.held,
        "skipped": result.skipped,
        "peak_memory_bytes": peak_memory(),
        "hardware": dict(hardware),
        "exports": dict(answers),
        "rows": {example.id: rows[example.id] for example in examples if example.id in rows},
    }
    held = dict(run.held_loss)
    lines = [f"{step},{loss},{held.get(step, '')}" if held else f"{step},{loss}" for step, loss in run.loss]
    write_atomic(out / "loss.csv", "\n".join(["step,loss,held_loss" if held else "step,loss", *lines]) + "\n")
    write_json(out / TRAINING, record)


def describe_hardware(device: str, processes: int) -> dict[str, Any]:
    """What the run was computed on, and with which libraries."""
    import os

    import torch

    found = {
        "device": torch.cuda.get_device_name() if device != "cpu" else _processor(),
        "cores": os.cpu_count() or 0,
        "processes": processes,
    }
    return found | {name: version(name) for name in _LIBRARIES}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())


def peak_memory() -> int:
    """Largest resident set of this process so far, in bytes."""
    import resource
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
