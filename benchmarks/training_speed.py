"""Our training loop beside the recipe one would write first, on the same rows in one run; and what the processor allows

    .venv/bin/python benchmarks/training_speed.py [steps of the plain recipe to time, default 4]

The plain recipe: transformers + peft, rank 16 on all projections, bfloat16, 48 steps of 4 padded rows, logits for every
token. Its time is the measured seconds a step times 48. Ours runs whole. Each runs in a process of its own, so that the
peaks of memory are their own. Needs build/index (`sluice index build`).

Effective tokens: prompt and answer of every example that was learned from, without padding, each counted as often as
it was learned. That is what a plain loop computes. Ours computes fewer: questions over the same passages share them.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sluice.core.workspace import Workspace
from sluice.data.rows import load_rows
from sluice.llm.models import ensure, load_models
from sluice.prompts import load_prompt
from sluice.retrieval.embedder import Embedder
from sluice.training.base import load_base
from sluice.training.dataset import Example, build_examples
from sluice.training.methods import add_adapter
from sluice.training.parameters import TrainingParameters
from sluice.training.record import peak_memory
from sluice.training.trainer import Places, train

PLAIN_STEPS, PLAIN_BATCH = 48, 4


@dataclass(frozen=True)
class Timed:
    """`effective`: tokens learned from; `computed`: positions that went through the model, padding too."""

    answers: int
    seconds: float
    effective: int
    computed: int
    peak: int

    def row(self, name: str, plain: Timed) -> str:
        speed = self.effective / self.seconds
        ratio = speed / (plain.effective / plain.seconds)
        cells = [name, self.answers, f"{self.seconds:.0f}", f"{speed:.0f}", f"{ratio:.2f}"]
        cells += [f"{self.computed / self.seconds:.0f}", f"{self.peak / 2**30:.1f}"]
        return f"| {' | '.join(map(str, cells))} |"


def main(timed_steps: int) -> int:
    workspace = Workspace.find()
    models = load_models(workspace.config / "models.yaml")
    base = ensure(models.chat, workspace.cache)
    params = TrainingParameters()
    prompt = load_prompt(workspace.prompts / "finetune.prompt.yml")
    rows = load_rows(workspace.data / "train.jsonl")
    with Embedder(ensure(models.embed, workspace.cache)) as embedder:
        examples = build_examples(
            rows, workspace.build / "index", embedder, prompt, "The handbook does not say.", params
        )
    plain = alone(run_plain, base, examples, params, timed_steps)
    ours = alone(run_ours, base, examples, params)
    limit, needed = alone(processor, base, params)
    print("| recipe | answers | seconds | effective tokens/s | ratio | computed tokens/s | peak GiB |")
    print("|---|---|---|---|---|---|---|")
    print(plain.row(f"plain, {PLAIN_STEPS} steps of {PLAIN_BATCH} rows", plain))
    print(ours.row(f"ours, {params.steps} steps of {params.batch} packs", plain))
    print(
        f"\nmatrix products of the model's shapes in {params.dtype}: {limit / 1e9:.0f} GFLOP/s; a token needs "
        f"{needed / 1e9:.2f} GFLOP, so at most {limit / needed:.0f} computed tokens/s; ours reaches "
        f"{ours.computed / ours.seconds / (limit / needed):.0%} of that"
    )
    return 0


def alone(work: Callable[..., Any], *arguments: Any) -> Any:
    """The result of `work`, computed in a fresh process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, arguments)


def run_ours(base: Path, examples: list[Example], params: TrainingParameters) -> Timed:
    with tempfile.TemporaryDirectory() as folder:
        places = Places(base, base, Path(folder) / "out", Path(folder) / "checkpoints")
        run = train(places, examples, params, lambda *_: None).run
    return Timed(run.answers, run.seconds, run.plain_tokens, run.tokens, peak_memory())


def run_plain(base: Path, examples: list[Example], params: TrainingParameters, steps: int) -> Timed:
    import torch

    torch.manual_seed(1)
    loaded, tokenizer = load_base(base, params)
    model = add_adapter(loaded, params)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=params.learning_rate)
    began = effective = computed = 0.0
    for step in range(steps + 1):
        if step == 1:  # the first step warms the allocator and the kernels
            began, effective, computed = time.perf_counter(), 0.0, 0.0
        batch = [examples[(step * PLAIN_BATCH + number) % len(examples)] for number in range(PLAIN_BATCH)]
        inputs = padded(batch, tokenizer)
        model(**inputs).loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        effective += int(inputs["attention_mask"].sum())
        computed += inputs["input_ids"].numel()
    share = PLAIN_STEPS / steps
    seconds = (time.perf_counter() - began) * share
    answers = PLAIN_STEPS * PLAIN_BATCH
    return Timed(answers, seconds, round(effective * share), round(computed * share), peak_memory())


def padded(batch: list[Example], tokenizer: Any) -> dict[str, Any]:
    """Token ids, mask and labels of equal length; only answers are labelled."""
    import torch

    rows = []
    for example in batch:
        prompt = tokenizer.apply_chat_template(list(example.messages), tokenize=False, add_generation_prompt=True)
        start = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        answer = tokenizer(example.target + "<|im_end|>", add_special_tokens=False)["input_ids"]
        rows.append((start, answer))
    longest = max(len(start) + len(answer) for start, answer in rows)
    ids = torch.zeros((len(rows), longest), dtype=torch.long)
    labels = torch.full((len(rows), longest), -100)
    mask = torch.zeros((len(rows), longest), dtype=torch.long)
    for number, (start, answer) in enumerate(rows):
        whole = len(start) + len(answer)
        ids[number, :whole] = torch.tensor(start + answer)
        labels[number, len(start) : whole] = torch.tensor(answer)
        mask[number, :whole] = 1
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def processor(base: Path, params: TrainingParameters) -> tuple[float, float]:
    """FLOP/s of matrix products alone, and the FLOP that one token needs in them: forward, and backward to activations.

    Weights of the base get no gradient, so a token needs 4 FLOP for each weight of a layer; adapter and attention, some
    per cent more, are left out.
    """
    import torch

    model, _ = load_base(base, params)
    layer = [p for name, p in model.named_parameters() if ".layers.0." in name and p.dim() == 2]
    weights = sum(p.numel() for p in layer) * model.config.num_hidden_layers
    threads = os.cpu_count() or 1
    torch.set_num_threads(threads)
    rows = torch.randn(params.max_tokens, max(p.shape[1] for p in layer)).to(model.dtype)

    def once() -> None:
        for weight in layer:
            torch.nn.functional.linear(rows[:, : weight.shape[1]], weight)

    with torch.no_grad():
        once()
        began, rounds = time.perf_counter(), 0
        while time.perf_counter() - began < 3:
            once()
            rounds += 1
        seconds = time.perf_counter() - began
    return 2 * sum(p.numel() for p in layer) * params.max_tokens * rounds / seconds, 4.0 * weights


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 4))
