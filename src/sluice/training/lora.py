"""Supervised LoRA fine-tuning of a GGUF chat model on a CPU: loss on answers only, shared prompts computed once.

Logits are computed at answer positions only (`logits_to_keep`), and the optimiser holds float32 copies of the
adapter, so that small steps are not lost in bfloat16. docs/reference/training.md has the measurements.
"""

from __future__ import annotations

import math
import os
import random
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sluice.core.digests import digest_of, digest_of_file
from sluice.core.errors import SluiceError
from sluice.core.files import write_atomic, write_json
from sluice.llm.local import probe
from sluice.training.base import load_base, require_training_packages, tokenise
from sluice.training.dataset import Example
from sluice.training.export import write_adapter
from sluice.training.packing import Pack, mask, pack
from sluice.training.parameters import TrainingParameters

Progress = Callable[[int, int, float], None]


@dataclass(frozen=True)
class TrainingResult:
    """`seconds` is the training loop alone; `answers` counts the examples learned from, with repeats."""

    adapter: Path
    seconds: float
    tokens: int
    answers: int
    skipped: int
    loss: list[tuple[int, float]]

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds if self.seconds else 0.0


def train(
    base: Path, examples: Sequence[Example], params: TrainingParameters, out: Path, on_progress: Progress
) -> TrainingResult:
    """Trains on `examples` and writes out/adapter.gguf, training.json and loss.csv; a killed run leaves no adapter.

    `on_progress(step, steps, loss)` is called after each optimiser step. SluiceError: no examples, no base, NaN loss.
    """
    require_training_packages()
    if not examples:
        raise SluiceError("no training examples", remedy="add rows to data/train.jsonl")
    model, tokenizer, shape = load_base(base, params)
    packs, skipped = pack(tokenise(examples, tokenizer), max_tokens=params.max_tokens, share=params.share + 1)
    if not packs:
        raise SluiceError(
            f"all {len(examples)} training examples are longer than {params.max_tokens} tokens",
            remedy="raise train.max_tokens in pipelines/params.yaml, or use fewer or shorter passages",
        )
    adapted = add_adapter(model, params)
    run = fit(adapted, packs, params, on_progress)
    draft = out / f".draft-{os.getpid()}"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        adapter = draft / "adapter.gguf"
        write_adapter(adapter_state(adapted), adapter, shape, alpha=params.alpha)
        probe(base, adapter)
        result = TrainingResult(out / adapter.name, run.seconds, run.tokens, run.answers, skipped, run.loss)
        _write_records(result, base, examples, params, out)
        adapter.replace(result.adapter)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return result


def add_adapter(model: Any, params: TrainingParameters) -> Any:
    """The model with a LoRA adapter; with `layers`, only on the upper ones, so that backward stops there."""
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(params.seed)
    blocks = model.config.num_hidden_layers
    if params.layers > blocks:
        raise SluiceError(f"train.layers is {params.layers}, but the model has only {blocks}")
    upper = list(range(blocks - params.layers, blocks)) if params.layers else None
    config = LoraConfig(
        r=params.rank,
        lora_alpha=params.alpha,
        target_modules=list(params.targets),
        layers_to_transform=upper,
        task_type="CAUSAL_LM",
    )
    try:
        return get_peft_model(model, config, autocast_adapter_dtype=False)
    except ValueError as error:
        raise SluiceError(f"train.targets: {error}") from error


def adapter_state(model: Any) -> dict[str, Any]:
    """peft's state dict as float32 numpy arrays."""
    from peft import get_peft_model_state_dict

    return {name: value.float().numpy() for name, value in get_peft_model_state_dict(model).items()}


@dataclass
class Run:
    """What the loop did. `loss`: (step, mean loss of its examples)."""

    seconds: float = 0.0
    tokens: int = 0
    answers: int = 0
    loss: list[tuple[int, float]] = field(default_factory=list)


def fit(model: Any, packs: Sequence[Pack], params: TrainingParameters, on_progress: Progress) -> Run:
    """`params.steps` optimiser steps over the packs, reshuffled for each epoch.

    The packs of a step are computed side by side, each in a thread of its own: torch releases the interpreter lock, and
    threads within one operation would wait for each other whenever the machine does something else.
    """
    import torch

    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    masters = [weight.detach().float().clone() for weight in weights]
    optimiser = torch.optim.AdamW(masters, lr=params.learning_rate, weight_decay=params.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: rate(step, params))
    stream = _endless(packs, params.seed)
    run = Run()
    model.train()
    began = time.perf_counter()
    threads = params.threads or os.cpu_count() or 1
    workers = min(threads, params.batch)
    with ThreadPoolExecutor(workers, initializer=lambda: torch.set_num_threads(threads // workers)) as pool:
        for step in range(1, params.steps + 1):
            batch = [next(stream) for _ in range(params.batch)]
            loss = _accumulate(model, batch, weights, masters, pool)
            if not math.isfinite(loss):
                raise SluiceError(
                    f"step {step} of {params.steps}: the loss is {loss}",
                    remedy="lower train.learning_rate, or set train.dtype to float32",
                )
            torch.nn.utils.clip_grad_norm_(masters, params.clip)
            optimiser.step()
            schedule.step()
            with torch.no_grad():
                for weight, master in zip(weights, masters, strict=True):
                    weight.copy_(master)
            run.tokens += sum(map(len, batch))
            run.answers += sum(len(p.tails) for p in batch)
            run.loss.append((step, round(loss, 4)))
            on_progress(step, params.steps, loss)
    run.seconds = time.perf_counter() - began
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


def _accumulate(model: Any, batch: Sequence[Pack], weights: list[Any], masters: list[Any], pool: Executor) -> float:
    """Mean loss of the batch's examples; its gradient is left in `masters`, summed in a fixed order."""
    examples = sum(len(p.tails) for p in batch)
    longest_first = sorted(batch, key=len, reverse=True)
    total = 0.0
    for number, (loss, gradients) in enumerate(pool.map(lambda p: _gradients(model, p, weights), longest_first)):
        total += loss
        for master, gradient in zip(masters, gradients, strict=True):
            share = gradient.float() / examples
            master.grad = share if number == 0 else master.grad.add_(share)
    return total / examples


def _gradients(model: Any, item: Pack, weights: list[Any]) -> tuple[float, Sequence[Any]]:
    """Summed loss of one pack and its gradients. Touches nothing shared, so threads may run it at once."""
    import torch

    at, expected, shares = item.labels()
    logits = model(
        input_ids=torch.tensor([item.ids]),
        position_ids=torch.tensor([item.positions]),
        attention_mask=mask(item, model.dtype),
        logits_to_keep=torch.tensor(at),
        use_cache=False,
    ).logits[0]
    losses = torch.nn.functional.cross_entropy(logits.float(), torch.tensor(expected), reduction="none")
    loss = (losses * torch.tensor(shares)).sum()
    return float(loss.detach()), torch.autograd.grad(loss, weights)


def _write_records(
    result: TrainingResult, base: Path, examples: Sequence[Example], params: TrainingParameters, out: Path
) -> None:
    record = {
        "base_sha256": digest_of_file(base),
        "data_digest": digest_of([[list(e.messages), e.target] for e in examples]),
        "parameters": params.model_dump(mode="json"),
        "seconds": round(result.seconds, 1),
        "tokens_per_second": round(result.tokens_per_second, 1),
        "tokens": result.tokens,
        "answers": result.answers,
        "loss": [list(point) for point in result.loss],
        "samples": len(examples),
        "skipped": result.skipped,
        "peak_memory_bytes": _peak_memory(),
    }
    write_atomic(out / "loss.csv", "step,loss\n" + "".join(f"{step},{loss}\n" for step, loss in result.loss))
    write_json(out / "training.json", record)


def _peak_memory() -> int:
    """Largest resident set of this process so far, in bytes."""
    import resource
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
