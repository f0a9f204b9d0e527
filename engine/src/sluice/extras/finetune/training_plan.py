"""`sluice train --dry-run`: memory, time and price of a training run, before anything is downloaded or paid for.

engine/docs/reference/training-plans.md has the arithmetic, beside measured runs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sluice.core.errors import SluiceError
from sluice.core.params import load_params
from sluice.core.workspace import Workspace
from sluice.extras.finetune.base_model import is_gguf, require_training_packages
from sluice.extras.finetune.gpu_machines import GpuMachine, gpu_machines
from sluice.extras.finetune.model_count import ModelCount, count_model
from sluice.extras.finetune.model_lifecycle import model_lifecycle
from sluice.extras.finetune.training_parameters import TrainingParameters, UntrainableError
from sluice.llm.model_files import PinnedFiles, ensure_source, load_models

GIB = 1 << 30
_USABLE = 0.92  # of a card: the rest is its driver's, or lost between blocks of different sizes
_RUNTIME = int(1.5 * GIB)  # CUDA's context, buffers of cuBLAS and NCCL
_UTILISATION = 0.3  # of a card's dense TFLOPS, as trainings by FSDP on one machine reach: assumed, not measured
_PACKED = 0.516  # bytes of a weight in NF4 with double quantisation: half a byte, and its part of the scales


@dataclass(frozen=True)
class TrainingMachines:
    """`price`: US dollars an hour of all of them; 0: not known."""

    machine: GpuMachine
    instances: int = 1
    price: float = 0.0

    @property
    def processes(self) -> int:
        return self.machine.count * self.instances


@dataclass(frozen=True)
class MemoryNeed:
    """Bytes by what takes them: on the device of each process, and at most on the host of each machine."""

    device: dict[str, int]
    host: int

    @property
    def total(self) -> int:
        return sum(self.device.values())


def memory_need(count: ModelCount, params: TrainingParameters, processes: int, on_machine: int) -> MemoryNeed:
    """What each process needs."""
    shards = processes if params.sharded(processes) else 1
    computed = 4 if params.dtype == "float32" else 2
    full = params.method == "full"
    trained = count.weights if full else count.adapter
    if params.method == "qlora":  # peft keeps in float32 what is not packed
        base = int(_PACKED * count.packable) + 4 * (count.weights - count.packable)
    else:
        base = (4 if full else computed) * count.weights
    held = base + (0 if full else 4 * trained)
    need = {
        "weights": held // shards,
        "gradients": 4 * trained // shards,
        "moments of Adam": 8 * trained // shards,
        "activations of one pack": count.kept + count.of_layer,
    }
    if shards > 1:  # this layer and the next one; what is in no layer stays until the step ends
        need["layers that are gathered"] = computed * (2 * count.block + count.outer)
        if full:
            need["gradients of one, whole"] = computed * max(count.block, count.outer)
    elif processes > 1:
        need["gradients on their way"] = 4 * trained
    if full and shards == 1 and computed == 2:
        need["weights as autocast casts them"] = 2 * trained
    loaded = (4 if full and shards > 1 else computed) * count.weights
    return MemoryNeed(need, loaded if shards > 1 else loaded * on_machine)


def base_config(workspace: Workspace, base: Path | None = None) -> Any:
    """transformers' config of what would be trained: of `base`, else of the chat model of config/models.yaml. Of its
    `weights` config.json alone is fetched."""
    from transformers import AutoConfig

    chat = load_models(workspace.config / "models.yaml").chat
    files = chat.weights or chat
    path = base or next(iter(files.cached(workspace.cache)))
    with tempfile.TemporaryDirectory() as scratch:
        if base is None and not path.exists() and "config.json" in files.files:
            only = PinnedFiles(source=files.source_of("config.json"), sha256=files.files["config.json"])
            path = ensure_source(only, Path(scratch))
        if not path.exists():
            raise SluiceError(
                f"{path}: the base model is missing, and `files` of config/models.yaml has no config.json",
                remedy="name it there, or fetch the model with `sluice models pull`",
            )
        folder = path if path.is_dir() else path.parent
        file = {"gguf_file": path.name} if is_gguf(path) and path.name != "config.json" else {}
        try:
            return AutoConfig.from_pretrained(folder, **file, local_files_only=True)
        except (OSError, ValueError, LookupError) as error:
            raise SluiceError(f"{path}: transformers cannot read what model this is: {error}") from error


def plan(workspace: Workspace, machines: TrainingMachines | None = None, base: Path | None = None) -> Iterator[str]:
    """What a training needs of GPUs."""
    require_training_packages()
    params = load_params(workspace.params, "train", TrainingParameters)
    if params.dtype == "auto":  # the cards that are fast enough to plan with have bfloat16
        params = params.model_copy(update={"dtype": "bfloat16"})
    lifecycle = [] if base else list(model_lifecycle(workspace, params))
    count = count_model(base_config(workspace, base), params, gpu=True)
    trained = count.weights if params.method == "full" else count.adapter
    yield f"model     {count.weights / 1e9:.2f} billion weights"
    yield f"trained   {trained / 1e6:,.1f} million by {params.method}, computed in {params.dtype}"
    yield from lifecycle
    fitting = [one for one in map(TrainingMachines, gpu_machines()) if not _fault(count, params, one)]
    least = list({one.machine.card: one for one in reversed(fitting)}.values())[::-1]  # of each card
    if machines:
        yield from _lines(count, params, machines)
        fault, what = _fault(count, params, machines), f"{machines.instances} × ml.{machines.machine.name}"
    else:
        for one in least:
            yield fits(count, params, one)
        why = f"each is too small, or has more GPUs than can share the {params.packs_a_step} packs of a step"
        fault, what = "" if least else why, "the machines that are known"
    if fault:
        names = ", ".join(f"ml.{one.machine.name}" for one in least)
        remedy = (
            "set train.parallel to fsdp, train.gradient_checkpointing, train.method to lora or qlora, or "
            "train.accumulate to the number of GPUs"
        )
        raise UntrainableError(
            f"{what} cannot train this: {fault}", remedy=f"take {names}, or {remedy}" if names else remedy
        )


def fits(count: ModelCount, params: TrainingParameters, machines: TrainingMachines) -> str:
    """The plan for these machines in one line."""
    speed, minutes = _pace(count, params, machines)
    size = memory_need(count, params, machines.processes, machines.machine.count).total + _RUNTIME
    cards = f"ml.{machines.machine.name:<15}{machines.processes} × {machines.machine.card.name}"
    return f"fits      {cards:<26}{_gib(size):>9} each, {speed:,.0f} tokens/s, {minutes:.1f} minutes"


def _fault(count: ModelCount, params: TrainingParameters, machines: TrainingMachines) -> str:
    """Why these cannot train it; empty where they can."""
    machine = machines.machine
    if not machine.card.tflops and params.dtype == "bfloat16":
        return f"a {machine.card.name} has no bfloat16"
    if params.packs_a_step % machines.processes:
        return f"{machines.processes} processes cannot share the {params.packs_a_step} packs of a step"
    if params.method == "qlora" and params.sharded(machines.processes):
        return "packed weights cannot be sharded"
    need = memory_need(count, params, machines.processes, machine.count)
    usable = int(_USABLE * machine.card.memory_gib * GIB)
    if need.total + _RUNTIME > usable:
        return f"each {machine.card.name} needs {_gib(need.total + _RUNTIME)}, and has {_gib(usable)} to give"
    if need.host > _USABLE * machine.host_gib * GIB:
        return f"loading needs {_gib(need.host)} of a machine that has {machine.host_gib} GiB"
    return ""


def _lines(count: ModelCount, params: TrainingParameters, machines: TrainingMachines) -> Iterator[str]:
    machine = machines.machine
    need = memory_need(count, params, machines.processes, machine.count)
    yield (
        f"memory    {_gib(need.total + _RUNTIME)} on each of {machines.processes} × {machine.card.name}"
        f" ({machine.card.memory_gib} GiB) of {machines.instances} × ml.{machine.name}"
    )
    for what, size in {**need.device, "CUDA itself": _RUNTIME}.items():
        yield f"          {_gib(size):>9}  {what}"
    yield f"          {_gib(need.host):>9}  of the memory of each machine, while it loads"
    if machine.card.tflops:
        speed, minutes = _pace(count, params, machines)
        packs = f"{params.steps} steps of {params.packs_a_step} packs of {count.tokens} tokens"
        yield f"speed     {speed:,.0f} tokens/s, at {_UTILISATION:.0%} of the cards' peak, which is assumed"
        yield f"time      {minutes:.1f} minutes at most: {packs}; start and downloads come on top"
        if machines.price:
            yield f"cost      ${machines.price * minutes / 60:.2f} of these minutes, at ${machines.price:.2f} an hour"


def _pace(count: ModelCount, params: TrainingParameters, machines: TrainingMachines) -> tuple[float, float]:
    """(tokens a second, minutes of all steps when every pack has its most tokens)"""
    speed = machines.processes * machines.machine.card.tflops * 1e12 * _UTILISATION * count.tokens / count.operations
    return speed, params.steps * params.packs_a_step * count.tokens / speed / 60


def _gib(size: float) -> str:
    return f"{size / GIB:.1f} GiB"
