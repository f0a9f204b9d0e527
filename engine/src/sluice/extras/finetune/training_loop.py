"""The training run: transformers' Trainer over packs, with held-out rows, early stopping, checkpoints and resuming.

A step is a function of the state before it and of its number, and the state is what a checkpoint holds: so a run that
was killed and went on ends with the same weights, bit by bit, as one that was not.
"""

from __future__ import annotations

import math
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch
from peft.helpers import disable_input_dtype_casting
from transformers import EarlyStoppingCallback, PrinterCallback, TrainerCallback, TrainerState, TrainingArguments

from sluice.core.errors import SluiceError
from sluice.extras.finetune.allocator import give_back
from sluice.extras.finetune.base_model import quiet
from sluice.extras.finetune.checkpoints import Checkpoints
from sluice.extras.finetune.pack_trainer import PackTrainer, StepShare, steps_of
from sluice.extras.finetune.packing import Pack
from sluice.extras.finetune.process_group import PATIENCE, ProcessGroup
from sluice.extras.finetune.training_parameters import TrainingParameters, UntrainableError
from sluice.extras.finetune.training_record import TrainingRun

Progress = Callable[[int, int, float], None]

_GIVE_BACK_EVERY = 4  # steps; the pages that come back for the next one cost time
_KEPT = 2  # checkpoints: the newest, and the one before for when the newest is broken; the best besides


def fit(
    model: Any,
    packs: Sequence[Pack],
    params: TrainingParameters,
    on_progress: Progress,
    group: ProcessGroup,
    checkpoints: Checkpoints,
    *,
    held: Sequence[Pack] = (),
) -> TrainingRun:
    """`params.steps` optimiser steps over the packs, reshuffled for each epoch; fewer when `held` gets no better.

    With `held`, the weights with the lowest loss on it are what remains."""
    require_shareable(params, group)
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()
    found = checkpoints.latest() if group.leads else None
    shares = steps_of(packs, params, group.world)
    with quiet(), _pool(params, group) as pool:
        arguments = _arguments(params, group, checkpoints, held=bool(held))
        found = group.agreed(found)
        state = TrainerState.load_from_json(str(found / "trainer_state.json")) if found else TrainerState()
        earlier = _run(state, shares, params, group)
        if earlier.stopped:  # and killed while it was exported
            arguments.max_steps = earlier.steps
        trainer = PackTrainer(
            params,
            pool,
            checkpoints,
            earlier.seconds,
            model=model,
            args=arguments,
            train_dataset=shares,
            eval_dataset=list(held) or None,
            data_collator=lambda one: {"share": one[0]},
            callbacks=[_Follow(params, on_progress, group, held=bool(held))]
            + ([EarlyStoppingCallback(params.patience)] if held else []),
        )
        trainer.remove_callback(PrinterCallback)
        try:
            with disable_input_dtype_casting(model):  # autocast does it; twice costs six per cent of a step
                trainer.train(resume_from_checkpoint=str(found) if found else None)
        except pickle.UnpicklingError as error:  # torch refuses what would call code
            raise SluiceError(
                f"{found}: torch cannot read this checkpoint: {str(error).splitlines()[0]}",
                remedy="delete its folder and train again",
            ) from error
    return _run(trainer.state, shares, params, group)


def require_shareable(params: TrainingParameters, group: ProcessGroup) -> None:
    """SluiceError when these processes cannot train together, for before a model is loaded."""
    if params.packs_a_step % group.world:
        raise SluiceError(
            f"{group.world} processes cannot share the {params.packs_a_step} packs of a step",
            remedy=f"make train.batch × train.accumulate a multiple of {group.world}",
        )
    if params.sharded(group.world) and params.method == "qlora":
        raise SluiceError("packed weights cannot be sharded", remedy="set train.parallel to ddp, or method to lora")


def _arguments(
    params: TrainingParameters, group: ProcessGroup, checkpoints: Checkpoints, *, held: bool
) -> TrainingArguments:
    sharded = params.sharded(group.world)
    judged = {"eval_strategy": "steps", "eval_steps": params.evaluate_every, "load_best_model_at_end": True}
    made = TrainingArguments(
        output_dir=str(checkpoints.folder),
        max_steps=params.steps,
        per_device_train_batch_size=1,  # one step
        train_sampling_strategy="sequential",
        learning_rate=params.learning_rate,
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
        fsdp=sharded or None,
        # The first process alone has the weights, and gives each its shard.
        fsdp_config={"cpu_ram_efficient_loading": True, "activation_checkpointing": params.gradient_checkpointing}
        if sharded
        else None,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_steps=params.evaluate_every if held else params.checkpoint_every,  # the best is one of them
        save_total_limit=_KEPT,
        restore_callback_states_from_checkpoint=True,
        remove_unused_columns=False,
        disable_tqdm=True,
        report_to="none",
        **(judged if held else {}),
    )
    if group.world == 1 and group.device != "cpu":
        made._n_gpu = 1  # else every GPU of the machine by nn.DataParallel, which knows no packs
    return made


@contextmanager
def _pool(params: TrainingParameters, group: ProcessGroup) -> Iterator[ThreadPoolExecutor | None]:
    """Threads for the packs of a step, where one process has a processor for itself."""
    threads = params.threads or max(1, (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    if group.device != "cpu" or group.world > 1:
        if group.device == "cpu":
            torch.set_num_threads(threads)
        yield None
        return
    workers = min(threads, params.batch)
    with ThreadPoolExecutor(workers, initializer=lambda: torch.set_num_threads(threads // workers)) as pool:
        yield pool


class _Follow(TrainerCallback):  # type: ignore[misc]
    """Stops at a loss that is not finite, reports, saves and evaluates where it is due, gives memory back.

    At SIGTERM, with which a machine is taken away, it saves after the step and ends. transformers' own way
    (`enable_jit_checkpoint`) waits three seconds, and its mark would be part of a checkpoint's record."""

    def __init__(self, params: TrainingParameters, on_progress: Progress, group: ProcessGroup, *, held: bool) -> None:
        self._params, self._on_progress, self._group, self._held = params, on_progress, group, held
        self._told, self._ends, self._before = False, False, signal.getsignal(signal.SIGTERM)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._end)
        if state.global_step:
            state.log_history.append({"resumed": state.global_step, "step": state.global_step})

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        if state.global_step % _GIVE_BACK_EVERY == 0:
            give_back()
        if state.global_step % self._params.checkpoint_every == 0:
            control.should_save = True
        self._ends = bool(self._group.agreed(self._told))
        control.should_save = control.should_save or self._ends
        if self._held and state.global_step == self._params.steps:
            control.should_evaluate = True

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        if self._ends:
            print(f"train: ended by a signal after step {state.global_step}, which is saved", file=sys.stderr)
            raise SystemExit(128 + signal.SIGTERM)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._before)

    def _end(self, *_: Any) -> None:
        self._told = True

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, float], **_: Any) -> None:  # noqa: ARG002
        if "loss" not in logs:
            return
        if not math.isfinite(logs["loss"]):
            raise UntrainableError(
                f"step {state.global_step} of {self._params.steps}: the loss is {logs['loss']}",
                remedy="lower train.learning_rate, or set train.dtype to float32",
            )
        self._on_progress(state.global_step, self._params.steps, logs["loss"])


def _run(state: Any, shares: Sequence[StepShare], params: TrainingParameters, group: ProcessGroup) -> TrainingRun:
    """What a run has done, from the history that transformers keeps of it."""
    history = state.log_history
    held = [(one["step"], one["eval_loss"]) for one in history if "eval_loss" in one]
    packs = [item for share in shares[: state.global_step * group.world] for item in share.packs]
    best = min(held, key=lambda point: point[1], default=(0, 0.0))[0]
    return TrainingRun(
        steps=state.global_step,
        seconds=max((one["seconds"] for one in history if "seconds" in one), default=0.0),
        tokens=sum(map(len, packs)),
        plain_tokens=sum(p.plain_tokens for p in packs),
        answers=sum(len(p.tails) for p in packs),
        loss=[(one["step"], round(one["loss"], 4)) for one in history if "loss" in one],
        held_loss=held,
        resumed=[one["resumed"] for one in history if "resumed" in one],
        stopped=sum(step > best for step, _ in held) >= params.patience,
    )
