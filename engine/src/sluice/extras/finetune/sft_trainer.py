"""The training run by TRL's SFTTrainer. A step depends only on the state before it and its number, and a checkpoint
holds the state: a resumed run ends with the same weights, bit by bit."""

from __future__ import annotations

import math
import os
import pickle
import random
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from safetensors import SafetensorError
from transformers import EarlyStoppingCallback, PrinterCallback, TrainerCallback, TrainerState
from trl import SFTConfig, SFTTrainer

from sluice.core.atomic_files import read_json, write_json
from sluice.core.digests import digest_of_file
from sluice.core.errors import SluiceError
from sluice.extras.finetune.base_model import PATIENCE, ProcessGroup, lora_config, quiet
from sluice.extras.finetune.training_parameters import TrainingParameters
from sluice.extras.finetune.training_record import TrainingRun

Progress = Callable[[int, int, float], None]
Tokens = Mapping[str, list[int]]

_KEPT = 2  # checkpoints: the newest, and the one before for when the newest is broken; the best besides
_WINDOW = 16  # batches, whose examples are put together by length
_RUNS_KEPT = 3  # unfinished runs of other inputs; older ones are deleted
_RECORD = "files.json"  # of a checkpoint, written last: without it there is none
_FULL = ("No space left", "PytorchStreamWriter", "iostream", "I/O error")
# Tokens of an answer beyond which none weighs less: a copied sentence is decided by its first words, the rest follow.
_WHOLE = 8


def answer_loss(model: Any, batch: Mapping[str, Any]) -> Any:
    """Return the mean loss of a batch's examples; each of up to `_WHOLE` answer tokens weighs 1 in all. Logits are
    computed only where a token of an answer follows, to save memory. The batch may have an example in each row, or
    several in one row without padding."""
    learned = batch["labels"][:, 1:] != -100  # (rows, tokens - 1)
    begins = learned & ~torch.nn.functional.pad(learned, (1, 0))[:, :-1]
    number = begins.flatten().cumsum(0)[learned.flatten()] - 1  # of the example that a learned token belongs to
    lengths = torch.bincount(number)
    at = learned.any(0).nonzero().flatten()
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    logits = model(**inputs, logits_to_keep=at, use_cache=False).logits[learned[:, at]]  # (learned tokens, vocabulary)
    losses = torch.nn.functional.cross_entropy(logits.float(), batch["labels"][:, 1:][learned], reduction="none")
    return (losses / lengths.clamp(max=_WHOLE)[number]).sum() / len(lengths)


def loss_of(model: Any, example: Tokens) -> float:
    """Return the loss of one example. With FSDP every process computes its part."""
    batch = {name: torch.tensor([tokens], device=model.device) for name, tokens in example.items()}
    with torch.no_grad():  # packed weights are on a GPU, and stay there
        return float(answer_loss(model.eval(), batch))


class AnswerTrainer(SFTTrainer):  # type: ignore[misc]
    """SFTTrainer with examples that weigh the same whatever their length, and whole checkpoints."""

    loss_is_scaled_for_ga = False  # each batch of a step has as many examples: the mean of their means is the step's

    def compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, **_: Any) -> Any:
        return (answer_loss(model, inputs), {}) if return_outputs else answer_loss(model, inputs)

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """A release's card is `sluice models card`."""

    def _send_telemetry(self) -> None:
        """Nothing about a run leaves this machine."""

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Finish a checkpoint by its record, with the digest of each file."""
        checkpoint = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        try:
            super()._save_checkpoint(model, trial)
            self.accelerator.wait_for_everyone()  # each process has a file of its own in it
            if self.args.should_save:
                write_json(checkpoint / _RECORD, _digests(checkpoint))
        except (OSError, RuntimeError, SafetensorError) as error:  # torch and safetensors have errors of their own
            if not isinstance(error, OSError) and not any(words in str(error) for words in _FULL):
                raise
            raise SluiceError(
                f"{checkpoint}: the checkpoint cannot be written: {error}",
                remedy="free some space and run it again: it resumes from the previous checkpoint",
            ) from error


def fit(
    base: tuple[Any, Any],
    examples: Sequence[Tokens],
    held: Sequence[Tokens],
    params: TrainingParameters,
    arguments: SFTConfig,
    on_progress: Progress,
    group: ProcessGroup,
) -> tuple[AnswerTrainer, TrainingRun]:
    """Train `params.steps` optimiser steps, or fewer if the `held` loss stops falling; the best weights then remain.
    Checkpoints are read from and written to `arguments.output_dir`."""
    torch.set_num_threads(params.threads or max(1, (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", 1))))
    found = group.agreed(_latest(Path(arguments.output_dir)) if group.leads else None)
    order = _order([len(one["input_ids"]) for one in examples], params)
    model, tokenizer = base
    model.name_or_path = None  # else peft asks the network for it when it saves an adapter
    state = TrainerState.load_from_json(str(found / "trainer_state.json")) if found else TrainerState()
    earlier = _run(state, examples, order, params)
    # Fewer where a run that stopped early was killed while it was exported.
    arguments.max_steps = earlier.steps if earlier.stopped else params.steps
    with quiet():
        try:
            trainer = AnswerTrainer(
                model=model,
                args=arguments,
                processing_class=tokenizer,
                train_dataset=Dataset.from_list([dict(one) for one in examples]).select(order),
                eval_dataset=Dataset.from_list([dict(one) for one in held]) if held else None,
                peft_config=None if params.method == "full" else lora_config(params),
                callbacks=[_Follow(params, on_progress, group, earlier.seconds, held=bool(held))]
                + ([EarlyStoppingCallback(params.patience)] if held else []),
            )
        except ValueError as error:
            raise SluiceError(f"train.targets: {error}") if "Target modules" in str(error) else error from error
        trainer.remove_callback(PrinterCallback)
        try:
            trainer.train(resume_from_checkpoint=str(found) if found else None)
        except pickle.UnpicklingError as error:  # torch refuses what would call code
            said = f"{found}: torch cannot read this checkpoint: {str(error).splitlines()[0]}"
            raise SluiceError(said, remedy="delete its folder and train again") from error
    return trainer, _run(trainer.state, examples, order, params)


def require_shareable(params: TrainingParameters, world: int) -> None:
    """Refuse a group that cannot train together. Call it before they join: each reports it."""
    if params.examples_a_step % world:
        raise SluiceError(
            f"{world} processes cannot share the {params.examples_a_step} examples of a step",
            remedy=f"make train.batch × train.accumulate a multiple of {world}",
        )
    if params.sharded(world) and params.method == "qlora":
        raise SluiceError("packed weights cannot be sharded", remedy="set train.parallel to ddp, or method to lora")


def arguments_of(params: TrainingParameters, group: ProcessGroup) -> SFTConfig:
    """Return TRL's arguments. With FSDP, make them before a model is loaded: then one process alone reads it."""
    held = params.held_share > 0
    sharded = params.sharded(group.world)
    each = params.examples_a_step // group.world
    batch = math.gcd(params.batch, each)
    how = {"cpu_ram_efficient_loading": True, "activation_checkpointing": params.gradient_checkpointing}
    judged = {"eval_strategy": "steps", "eval_steps": params.evaluate_every, "load_best_model_at_end": True}
    arguments = SFTConfig(
        max_steps=params.steps,
        per_device_train_batch_size=batch,
        per_device_eval_batch_size=batch,
        gradient_accumulation_steps=each // batch,
        train_sampling_strategy="sequential",
        dataset_kwargs={"skip_prepare_dataset": True},
        max_length=None,
        # Several examples in one row see each other unless attention knows where each begins.
        padding_free=params.attention == "flash_attention_2",
        learning_rate=params.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=params.warmup,
        weight_decay=params.weight_decay,
        max_grad_norm=params.clip,
        optim="adamw_torch",
        seed=params.seed,
        bf16=params.dtype == "bfloat16",
        use_cpu=group.device == "cpu",
        gradient_checkpointing=params.gradient_checkpointing and not sharded,
        gradient_checkpointing_kwargs={"use_reentrant": False},
        ddp_find_unused_parameters=False,
        ddp_timeout=int(PATIENCE.total_seconds()),
        **({"fsdp": True, "fsdp_config": how} if sharded else {}),
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_steps=params.evaluate_every if held else params.checkpoint_every,  # the best is one of them
        save_total_limit=_KEPT,
        restore_callback_states_from_checkpoint=True,
        disable_tqdm=True,
        report_to="none",
        **(judged if held else {}),
    )
    if group.world == 1 and group.device != "cpu":
        arguments._n_gpu = 1  # else every GPU of the machine by nn.DataParallel
    return arguments


def _order(lengths: Sequence[int], params: TrainingParameters) -> list[int]:
    """Return the examples' numbers as the steps learn them: shuffled per epoch, and batched by length in random order,
    so they need little padding."""
    rng = random.Random(params.seed)
    drawn: list[int] = []
    total, window, batches = params.steps * params.examples_a_step, _WINDOW * params.batch, []
    while len(drawn) < total:
        drawn += rng.sample(range(len(lengths)), len(lengths))
    for start in range(0, total, window):
        near = sorted(drawn[start : min(start + window, total)], key=lambda one: (lengths[one], one))
        found = [near[first : first + params.batch] for first in range(0, len(near), params.batch)]
        rng.shuffle(found)
        batches += found
    return [number for batch in batches for number in batch]


def _run(state: Any, examples: Sequence[Tokens], order: Sequence[int], params: TrainingParameters) -> TrainingRun:
    history = state.log_history  # which transformers keeps
    held = [(one["step"], round(one["eval_loss"], 4)) for one in history if "eval_loss" in one]
    learned = order[: state.global_step * params.examples_a_step]
    best = min(held, key=lambda point: point[1], default=(0, 0.0))[0]
    return TrainingRun(
        steps=state.global_step,
        seconds=max((one["seconds"] for one in history if "seconds" in one), default=0.0),
        tokens=sum(len(examples[number]["input_ids"]) for number in learned),
        answers=len(learned),
        loss=[(one["step"], round(one["loss"], 4)) for one in history if "loss" in one],
        held_loss=held,
        resumed=[one["resumed"] for one in history if "resumed" in one],
        stopped=sum(step > best for step, _ in held) >= params.patience,
    )


class _Follow(TrainerCallback):  # type: ignore[misc]
    """Stops at a loss that isn't finite, reports, saves and evaluates. At SIGTERM it saves after the step and ends:
    transformers' own way (`enable_jit_checkpoint`) waits three seconds and would enter a checkpoint's record."""

    def __init__(
        self, params: TrainingParameters, on_progress: Progress, group: ProcessGroup, seconds: float, *, held: bool
    ) -> None:
        self._params, self._on_progress, self._group, self._held = params, on_progress, group, held
        self._began = time.perf_counter() - seconds
        self._told, self._ends, self._before = False, False, signal.getsignal(signal.SIGTERM)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._end)
        if state.global_step:
            state.log_history.append({"resumed": state.global_step, "step": state.global_step})

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        self._ends = bool(self._group.agreed(self._told))
        if self._ends or state.global_step % self._params.checkpoint_every == 0:
            control.should_save = True
        if self._held and state.global_step == self._params.steps:
            control.should_evaluate = True

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        if self._ends:
            print(f"train: ended by a signal after step {state.global_step}, which is saved", file=sys.stderr)
            raise SystemExit(128 + signal.SIGTERM)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._before)

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, float], **_: Any) -> None:  # noqa: ARG002
        state.log_history[-1]["seconds"] = time.perf_counter() - self._began
        if "loss" not in logs:
            return
        if not math.isfinite(logs["loss"]):
            raise SluiceError(
                f"step {state.global_step} of {self._params.steps}: the loss is {logs['loss']}",
                remedy="lower train.learning_rate, or set train.dtype to float32",
            )
        if self._group.leads:
            self._on_progress(state.global_step, self._params.steps, logs["loss"])

    def _end(self, *_: Any) -> None:
        self._told = True


def _latest(folder: Path) -> Path | None:
    """Return the newest whole checkpoint; broken ones are reported and deleted."""
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    for checkpoint in reversed(found):
        if not (fault := _fault(checkpoint)):
            return checkpoint
        if (checkpoint / _RECORD).is_file():
            print(f"train: the checkpoint {checkpoint} {fault}: it is not used", file=sys.stderr)
        shutil.rmtree(checkpoint)
    return None


def _fault(checkpoint: Path) -> str:
    try:
        expected = dict(read_json(checkpoint / _RECORD))
    except (SluiceError, TypeError, ValueError):
        return "has no whole record"
    found = _digests(checkpoint)
    wrong = (name for name, sha256 in expected.items() if found.get(name) != sha256)
    return next((f"does not match the sha256 of {name}" for name in wrong), "")


def _digests(checkpoint: Path) -> dict[str, str]:
    files = [path for path in sorted(checkpoint.rglob("*")) if path.is_file() and path.name != _RECORD]
    return {str(path.relative_to(checkpoint)): digest_of_file(path) for path in files}


def clear_checkpoints(folder: Path) -> None:
    """Delete the checkpoints of a finished run, and those of the oldest unfinished ones."""
    others = sorted(set(folder.parent.glob("*")) - {folder}, key=lambda path: path.stat().st_mtime, reverse=True)
    for ended in (folder, *others[_RUNS_KEPT:]):
        shutil.rmtree(ended, ignore_errors=True)
