"""Our training loop beside the recipe one would write first, on the same rows in one run; and what the processor allows

    .venv/bin/python engine/benchmarks/training_speed.py [--plain-steps 4] [--steps 72] [--threads 1]

The plain recipe: transformers + peft, rank 16 on all projections, bfloat16, batches of 4 padded rows, transformers'
`eager` attention, logits for every token. Each runs in a process of its own, so that the peaks of memory are their own.
Needs build/index (`sluice index build`).

The ratio is that of wall time, and means something on a quiet machine only. With `--threads 1` it is that of processor
time, which holds on a busy one too; with more, threads that wait for each other there count as work.

Effective tokens: prompt and answer of every example that was learned from, without padding, each counted as often as
it was learned. That is what a plain loop computes. Ours computes fewer: questions over the same passages share them.
"""

from __future__ import annotations

import argparse
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
from sluice.extras.finetune.base_model import load_base
from sluice.extras.finetune.dataset import Example, build_examples
from sluice.extras.finetune.trainer import TrainingPaths, train
from sluice.extras.finetune.training_methods import add_adapter
from sluice.extras.finetune.training_parameters import TrainingParameters
from sluice.extras.finetune.training_record import peak_memory
from sluice.llm.model_files import ensure, load_models
from sluice.prompts import load_prompt
from sluice.retrieval.embedder import Embedder

PLAIN_BATCH = 4


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
        cells = [name, self.answers, f"{self.seconds:.0f}", f"{speed:.0f}"]
        cells += [f"{speed / (plain.effective / plain.seconds):.2f}", f"{self.computed / self.seconds:.0f}"]
        cells.append(f"{self.peak / 2**30:.2f}")
        return f"| {' | '.join(map(str, cells))} |"


def main(plain_steps: int, steps: int, threads: int) -> int:
    workspace = Workspace.find()
    models = load_models(workspace.config / "models.yaml")
    base = ensure(models.chat, workspace.cache)
    params = TrainingParameters.model_validate({"steps": steps, "threads": threads})
    prompt = load_prompt(workspace.prompts / "finetune.prompt.yml")
    rows = load_rows(workspace.data / "train.jsonl")
    with Embedder(ensure(models.embed, workspace.cache)) as embedder:
        examples = build_examples(
            rows, workspace.build / "index", embedder, prompt, "The handbook does not say.", params
        )
    plain = alone(run_plain, base, examples, params, plain_steps)
    ours = alone(run_ours, base, examples, params)
    limit, needed = alone(processor, base, params)
    print("| recipe | answers | seconds | effective tokens/s | ratio | computed tokens/s | peak GiB |")
    print("|---|---|---|---|---|---|---|")
    print(plain.row(f"plain, {plain_steps} steps of {PLAIN_BATCH} rows", plain))
    print(ours.row(f"ours, {params.steps} steps of {params.batch} packs", plain))
    print(
        f"\nmatrix products of the model's shapes in {params.dtype}: {limit / 1e9:.0f} GFLOP/s; a token "
        f"needs {needed / 1e9:.2f}, so at most {limit / needed:.0f} computed tokens/s; ours reaches "
        f"{ours.computed / ours.seconds / (limit / needed):.0%} of that"
    )
    return 0


def clock(params: TrainingParameters) -> Callable[[], float]:
    """Seconds of the processor where there is one thread, else of the wall."""
    return time.process_time if params.threads == 1 else time.perf_counter


def alone(work: Callable[..., Any], *arguments: Any) -> Any:
    """The result of `work`, computed in a fresh process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, arguments)


def run_ours(base: Path, examples: list[Example], params: TrainingParameters) -> Timed:
    with tempfile.TemporaryDirectory() as folder:
        places = TrainingPaths(base, base, Path(folder) / "out", Path(folder) / "checkpoints")
        marks: list[float] = []
        run = train(places, examples, params, lambda *_: marks.append(clock(params)())).run
    # The first step warms the allocator and the kernels, and loading lies before it.
    share = len(marks) / (len(marks) - 1)
    return Timed(run.answers, (marks[-1] - marks[0]) * share, run.plain_tokens, run.tokens, peak_memory())


def run_plain(base: Path, examples: list[Example], params: TrainingParameters, steps: int) -> Timed:
    import torch

    torch.manual_seed(1)
    loaded, tokenizer = load_base(base, params)
    loaded.set_attn_implementation("eager")
    model = add_adapter(loaded, params)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=params.learning_rate)
    torch.set_num_threads(params.threads or os.cpu_count() or 1)
    began, effective, computed = 0.0, 0, 0
    for step in range(steps + 1):
        if step == 1:  # the first step warms the allocator and the kernels
            began, effective, computed = clock(params)(), 0, 0
        batch = [examples[(step * PLAIN_BATCH + number) % len(examples)] for number in range(PLAIN_BATCH)]
        inputs = padded(batch, tokenizer)
        model(**inputs).loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        effective += int(inputs["attention_mask"].sum())
        computed += inputs["input_ids"].numel()
    return Timed(steps * PLAIN_BATCH, clock(params)() - began, effective, computed, peak_memory())


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
    """FLOP of matrix products alone in a second, and the FLOP that a token needs in them.

    Weights of the base get no gradient, so a token needs 4 FLOP for each weight of a layer: forward, and backward to
    activations. Adapter and attention, some per cent more, are left out.
    """
    import torch

    model, _ = load_base(base, params)
    layer = [p for name, p in model.named_parameters() if ".layers.0." in name and p.dim() == 2]
    weights = sum(p.numel() for p in layer) * model.config.num_hidden_layers
    torch.set_num_threads(params.threads or os.cpu_count() or 1)
    now = clock(params)
    rows = torch.randn(params.max_tokens, max(p.shape[1] for p in layer)).to(model.dtype)

    def once() -> None:
        for weight in layer:
            torch.nn.functional.linear(rows[:, : weight.shape[1]], weight)

    with torch.no_grad():
        once()
        began, rounds = now(), 0
        while now() - began < 3:
            once()
            rounds += 1
        seconds = now() - began
    return 2 * sum(p.numel() for p in layer) * params.max_tokens * rounds / seconds, 4.0 * weights


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plain-steps", type=int, default=4, help="of the plain recipe, after one to warm up")
    parser.add_argument("--steps", type=int, default=72, help="of ours, one of them to warm up")
    parser.add_argument("--threads", type=int, default=0, help="of both recipes; default: all cores")
    arguments = parser.parse_args()
    sys.exit(main(arguments.plain_steps, arguments.steps, arguments.threads))
